// The page: choose a scan, send it, follow its job, show and download what was found.
"use strict";

const byId = id => document.getElementById(id);
const LABELS = {
  zscore: "z-map", anomaly: "anomaly map", error: "error map", picture: "picture", sidecar: "all numbers (JSON)",
  slices: "slices (CSV)", regions: "regions of the atlas (CSV)", bars: "regions that depart most (picture)",
};
const TABLES = { "scan_slices.csv": "slices", "scan_regions.csv": "regions", "scan_regions.png": "bars" };
const SYMBOLS = { anomalous: "\u25B2", normal: "\u25CF", uncalibrated: "\u25CB" };
const POLL_MS = 700;

let token = ""; // in memory only: gone with the page
let model = null;
let chosen = {}; // modality to File
let urls = []; // of what is shown, given back before the next result

class Problem extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

async function get(path) {
  const answer = await fetch(path, { headers: authorization(), cache: "no-store" });
  if (!answer.ok) throw new Problem(answer.status, detailOf(await answer.text()));
  return answer;
}

function detailOf(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return "The server gave no answer that can be read. Try again later.";
  }
}

// fetch does not tell how far an upload is
function send(form) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/detect");
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.upload.onprogress = event => {
      const share = event.loaded / event.total;
      say(share < 1 ? `Sending, ${Math.round(100 * share)} %` : "Checking the file", share < 1 ? share : null);
    };
    request.onload = () => {
      if (request.status < 300) return resolve(JSON.parse(request.responseText));
      const wait = Number(request.getResponseHeader("Retry-After"));
      reject(new Problem(request.status, detailOf(request.responseText), wait));
    };
    request.onerror = () => reject(new Problem(0, "The server cannot be reached. See whether it runs, and try again."));
    request.send(form);
  });
}

const pause = ms => new Promise(resolve => setTimeout(resolve, ms));

function say(words, share) {
  byId("state").hidden = false;
  byId("state").classList.remove("bad");
  byId("status").textContent = words;
  byId("progress").hidden = false;
  if (share === null) byId("progress").removeAttribute("value");
  else byId("progress").value = share;
}

function complain(problem) {
  if (problem.status === 401) askForToken(token ? "That is not the token of this server." : "");
  byId("state").hidden = problem.status === 401 && !token;
  byId("state").classList.add("bad");
  byId("status").textContent = problem.message[0].toUpperCase() + problem.message.slice(1);
  byId("progress").hidden = true;
}

function askForToken() {
  byId("access").hidden = false;
  byId("token").focus();
}

// ---- choosing ----

function showScans() {
  byId("scans").replaceChildren(...model.modalities.map(dropZone));
}

function dropZone(modality) {
  const zone = document.createElement("label");
  const input = document.createElement("input");
  const title = document.createElement("strong");
  const hint = document.createElement("span");
  zone.className = "drop";
  input.type = "file";
  input.name = modality;
  input.accept = ".nii,.gz";
  hint.className = "soft";
  const empty = model.optional.includes(modality) ? "if there is one" : ".nii or .nii.gz";
  const show = file => {
    if (file) chosen[modality] = file;
    else delete chosen[modality];
    zone.classList.toggle("full", Boolean(file));
    title.textContent = file ? file.name : `Drop a ${modality} scan here, or choose one`;
    hint.textContent = file ? `${modality}, ${sizeOf(file.size)}` : empty;
    refresh();
  };
  input.addEventListener("change", () => show(input.files[0]));
  zone.addEventListener("dragover", event => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", event => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
  });
  zone.append(title, hint, input);
  show(null);
  return zone;
}

function sizeOf(bytes) {
  const large = bytes >= 2 ** 20;
  return `${number(bytes / (large ? 2 ** 20 : 2 ** 10), 2)} ${large ? "MiB" : "KiB"}`;
}

function refresh() {
  const size = Object.values(chosen).reduce((sum, file) => sum + file.size, 0);
  const wanted = model.modalities.filter(name => !model.optional.includes(name));
  const large = size > model.max_upload_bytes;
  byId("limits").textContent = large ? `That is more than the ${sizeOf(model.max_upload_bytes)} of this server.` : "";
  byId("send").disabled = large || !wanted.every(name => chosen[name]);
}

// ---- doing ----

async function detect() {
  const form = new FormData();
  const scans = { ...chosen };
  for (const [modality, file] of Object.entries(scans)) form.append(modality, file);
  byId("send").disabled = true;
  byId("result").hidden = true;
  try {
    const job = await follow(await sendWhenThereIsRoom(form));
    if (job.status === "failed") throw new Problem(422, job.error.detail);
    await show(job, scans[model.modalities[0]]);
  } catch (problem) {
    complain(problem);
  } finally {
    refresh();
  }
}

async function sendWhenThereIsRoom(form) {
  for (;;) {
    try {
      return await send(form);
    } catch (problem) {
      if (problem.status !== 429) throw problem;
      say("Many scans are waiting. This one is sent as soon as there is room", null);
      await pause(1000 * problem.retryAfter);
    }
  }
}

async function follow(job) {
  const begun = Date.now();
  while (job.status === "queued" || job.status === "running") {
    const seconds = Math.round((Date.now() - begun) / 1000);
    const before = job.ahead ? `${job.ahead} before this one` : "this one is next";
    say(job.status === "queued" ? `Waiting, ${before}` : `Looking at the brain, ${seconds} s`, null);
    await pause(POLL_MS);
    job = await (await get(`/v1/jobs/${job.id}`)).json();
  }
  return job;
}

// ---- showing ----

const number = (value, digits = 3) => (value === null ? "unknown" : String(Number(value.toPrecision(digits))));

async function show(job, scan) {
  const result = job.result;
  say("Fetching the maps", null);
  const stem = scan.name.replace(/\.nii(\.gz)?$/i, "");
  const links = { ...result.maps, picture: result.picture, sidecar: result.sidecar };
  for (const [name, kind] of Object.entries(TABLES)) if (result.files[name]) links[kind] = result.files[name];
  const blobs = {};
  for (const [kind, link] of Object.entries(links)) blobs[kind] = await (await get(link)).blob();
  urls.forEach(URL.revokeObjectURL);
  urls = [];
  verdict(result);
  regions(result.components);
  const known = Object.keys(LABELS).filter(kind => links[kind]);
  const kinds = [...new Set([...known, ...Object.keys(links)])];
  byId("downloads").replaceChildren(...kinds.map(kind => download(kind, links[kind], blobs, stem)));
  byId("picture").src = urlOf(blobs.picture);
  byId("result").hidden = false;
  byId("state").hidden = true;
  byId("result").focus();
  await view(result, scan, blobs);
}

function urlOf(blob) {
  const url = URL.createObjectURL(blob);
  urls.push(url);
  return url;
}

function verdict(result) {
  const words = { anomalous: "Anomalous", normal: "Normal", uncalibrated: "No decision: the model is not calibrated" };
  byId("verdict").className = result.decision;
  byId("verdict").textContent = `${SYMBOLS[result.decision]} ${words[result.decision]}`;
  const facts = [`score ${number(result.score)}`];
  if (result.threshold !== null) facts.push(`anomalous above ${number(result.threshold)}`);
  if (result.p_value !== null)
    facts.push(`p ${number(result.p_value, 2)} (smallest possible ${number(result.p_resolution, 2)})`);
  if (result.anomalous_ml !== null) facts.push(`${number(result.anomalous_ml)} ml beyond the voxel threshold`);
  byId("facts").textContent = facts.join(" \u00B7 ");
  byId("warnings").replaceChildren(...result.warnings.map(words => item("li", words)));
}

function item(tag, words, kind = "") {
  const element = document.createElement(tag);
  element.textContent = words;
  element.className = kind;
  return element;
}

function regions(components) {
  byId("none").hidden = components.length > 0;
  byId("regions-title").hidden = false;
  byId("regions").hidden = components.length === 0;
  byId("components").replaceChildren(...components.map(found => {
    const row = document.createElement("tr");
    const place = found.peak_mm.map(mm => mm.toFixed(0)).join(", ");
    const numbers = [String(found.index), number(found.volume_ml), number(found.peak_z), number(found.mean_z)];
    row.append(...numbers.map(words => item("td", words, "number")), item("td", place));
    return row;
  }));
}

function download(kind, link, blobs, stem) {
  const line = document.createElement("li");
  const anchor = item("a", LABELS[kind] || kind.replaceAll("_", " "));
  anchor.href = urlOf(blobs[kind]);
  anchor.download = link.split("/").pop().replace(/^scan/, stem);
  line.append(anchor);
  return line;
}

async function view(result, scan, blobs) {
  const shown = { scan, zscore: blobs.zscore, anomaly: blobs.anomaly };
  const volumes = [];
  for (const [role, blob] of Object.entries(shown)) {
    if (!blob) continue;
    const bytes = await blob.arrayBuffer();
    const packed = new Uint8Array(bytes, 0, 2).join() === "31,139"; // whatever the file is called
    volumes.push({ role, name: packed ? `${role}.nii.gz` : `${role}.nii`, bytes });
  }
  try {
    const { voxel_threshold: threshold, components } = result;
    await mri3dViewer.show(byId("viewer"), { volumes, threshold, components });
    byId("regions").hidden = byId("regions-title").hidden = components.length > 0; // the viewer lists them
  } catch {
    // it says itself why it cannot be shown; picture and regions tell the same
  }
}

// ---- starting ----

async function start() {
  try {
    [model] = (await (await get("/v1/models")).json()).models;
  } catch (problem) {
    return complain(problem);
  }
  byId("access").hidden = true;
  byId("go").hidden = false;
  byId("state").hidden = true;
  byId("kept").textContent = `${number(model.keep_hours)} hours`;
  byId("model").textContent = `Model ${model.name}, version ${model.version}, for ${model.modalities.join(", ")}`;
  showScans();
}

byId("form").addEventListener("submit", event => {
  event.preventDefault();
  if (model) return detect();
  token = byId("token").value.trim();
  start();
});
// a file that misses the zone would replace the page
for (const name of ["dragover", "drop"]) window.addEventListener(name, event => event.preventDefault());
start();
