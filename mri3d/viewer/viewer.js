// The viewer of a subject: the scan in three planes, the z-map over it, and what was found to jump to.
//
//   mri3dViewer.show(element, {volumes, threshold, components})
//
// volumes: [{role, name, bytes | base64}], each a NIfTI file. The role is "scan" (the first; more of them are other
//   modalities, with a label each), "recon", "zscore", "anomaly" or "brain".
// threshold: z from which a voxel counts as anomalous; null where the bundle is uncalibrated.
// components: [{index, volume_ml, peak_z, peak_mm, mean_z}], peak_mm in world coordinates (RAS, mm).
// Where it cannot be shown (no WebGL 2, no NiiVue, a broken volume) the element says why, and the promise is rejected.
var mri3dViewer = (() => {
  "use strict";

  const STEP = { ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1],
    PageUp: [0, 1, 0], PageDown: [0, -1, 0] };
  const LAYERS = {
    scan: { colormap: "gray", opacity: 1 },
    recon: { colormap: "gray", opacity: 0 },
    brain: { colormap: "mri3d_brain", opacity: 0, cal_min: 0.5, cal_max: 1 },
    zscore: { colormap: "mri3d_z", opacity: 0.75 },
    anomaly: { colormap: "mri3d_anomaly", opacity: 0, cal_min: 0.5, cal_max: 1 },
  };
  const ORDER = Object.keys(LAYERS);
  // Violet to yellow grows lighter all the way, so that those who do not see red or green read it too.
  const Z_COLOURS = [[126, 3, 168], [230, 90, 60], [245, 245, 60]];
  const HIGHEST = 6;  // few healthy voxels in a thousand million have a larger z

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function labelled(words, control) {
    return make("label", {}, make("span", { textContent: words }), control);
  }

  function bytesOf(volume) {
    if (volume.bytes) return volume.bytes;
    const text = atob(volume.base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes.buffer;
  }

  function addColours(viewer) {
    const map = ([R0, G0, B0], [R1, G1, B1], [R2, G2, B2]) => ({
      // what lies below the lower end is not seen, and without a colour that could bleed into an edge
      R: [0, R0, R1, R2], G: [0, G0, G1, G2], B: [0, B0, B1, B2], A: [0, 255, 255, 255], I: [0, 1, 128, 255],
    });
    viewer.addColormap("mri3d_z", map(...Z_COLOURS));
    viewer.addColormap("mri3d_anomaly", map([90, 200, 250], [90, 200, 250], [90, 200, 250]));
    viewer.addColormap("mri3d_brain", map([0, 158, 115], [0, 158, 115], [0, 158, 115]));
  }

  function position(mm) {
    const letters = [["L", "R"], ["P", "A"], ["I", "S"]];
    return letters.map(([below, above], i) => `${mm[i] < 0 ? below : above} ${Math.abs(mm[i]).toFixed(1)}`).join("  ");
  }

  function slider(name, high, value, act) {
    const output = make("output", { textContent: value.toFixed(2) });
    const input = make("input", { type: "range", min: 0, max: high, step: 0.05, value, name });
    const set = (wanted) => {
      output.textContent = wanted.toFixed(2);
      act(wanted);
    };
    input.addEventListener("input", () => set(+input.value));
    return { set: (wanted) => { input.value = wanted; set(wanted); }, parts: [input, output] };
  }

  // The colours of z with the values at their ends.
  function scale() {
    const low = make("output"), high = make("output");
    const bar = make("span", { className: "viewer-colours" });
    bar.style.background = `linear-gradient(to right, ${Z_COLOURS.map((rgb) => `rgb(${rgb})`).join(", ")})`;
    const tell = (from, to) => { low.textContent = from.toFixed(1); high.textContent = `\u2265 ${to.toFixed(1)}`; };
    return { tell, element: make("span", { className: "viewer-scale" }, "z ", low, bar, high) };
  }

  function componentTable(components, jump) {
    const head = ["component", "ml", "largest z", "mean z", "where (mm)"].map((words, i) => make("th", { scope: "col",
      textContent: words, className: i > 0 && i < 4 ? "number" : "" }));
    const rows = components.map((found) => {
      const button = make("button", { type: "button", textContent: `Go to ${found.index}` });
      button.addEventListener("click", () => jump(found.peak_mm));
      const cells = [found.volume_ml.toFixed(2), found.peak_z.toFixed(1), found.mean_z.toFixed(1),
        position(found.peak_mm)];
      return make("tr", {}, make("td", {}, button), ...cells.map((words, i) => make("td", { textContent: words,
        className: i < 3 ? "number" : "" })));
    });
    return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  }

  function fail(element, words) {
    element.replaceChildren(make("p", { className: "viewer-note", textContent: words }));
    throw new Error(words);
  }

  async function show(element, view) {
    if (!view)
      fail(element, "The viewer's volumes are not here: the file that ends in _view.js belongs beside this page.");
    if (!self.niivue)
      fail(element, "The interactive viewer is not here: NiiVue was not at hand when mri3d was installed.");
    if (!document.createElement("canvas").getContext("webgl2"))
      fail(element, "The interactive viewer needs WebGL 2, which this browser does not offer; the pictures show the same.");
    try {
      return await draw(element, view);
    } catch (error) {
      fail(element, `The interactive viewer could not show the volumes: ${error.message}. The pictures show the same.`);
    }
  }

  async function draw(element, { volumes, threshold, components = [] }) {
    const canvas = make("canvas", { tabIndex: 0, className: "viewer-canvas" });
    canvas.setAttribute("aria-label", "Three planes of the scan. Arrow keys move left, right, up and down, "
      + "page keys forwards and back.");
    const here = make("p", { className: "viewer-here" });
    here.setAttribute("role", "status");
    const controls = make("div", { className: "viewer-controls" });
    element.replaceChildren(make("div", { className: "viewer-frame" }, canvas), here, controls);

    const view = new View(volumes, threshold ?? 3);
    await view.open(canvas);
    view.tell((words) => { here.textContent = words; });
    controls.append(...groundControl(view), ...zControls(view), ...maskControls(view));
    if (components.length) element.append(componentRegion(components, (mm) => view.jump(mm)));
    view.jump(components.length ? components[0].peak_mm : view.middle());
    element.dataset.state = "shown";
    return view.niivue;
  }

  // The volumes on a canvas: which are seen, and where the crosshair is.
  class View {
    constructor(volumes, threshold) {
      this.volumes = [...volumes].sort((a, b) => ORDER.indexOf(a.role) - ORDER.indexOf(b.role));
      this.threshold = threshold;
      this.ground = 0;  // which of the volumes lies beneath the maps
      this.niivue = new niivue.Niivue({
        isRadiologicalConvention: true, sagittalNoseLeft: true, showAllOrientationMarkers: true,
        isCornerOrientationText: false, multiplanarShowRender: niivue.SHOW_RENDER.NEVER, multiplanarPadPixels: 12,
        crosshairColor: [0.9, 0.9, 0.9, 0.7], crosshairWidth: 0.6, crosshairWidthUnit: "mm", show3Dcrosshair: false,
        backColor: [0.06, 0.08, 0.1, 1], fontColor: [0.85, 0.88, 0.9, 1], fontMinPx: 12, loadingText: "",
        dragAndDropEnabled: false, scrollRequiresFocus: true, logLevel: "error",
      });
    }

    async open(canvas) {
      await this.niivue.attachToCanvas(canvas);
      this.niivue.setSliceType(this.niivue.sliceTypeMultiplanar);
      addColours(this.niivue);
      const images = this.volumes.map((volume, i) => {
        const look = { ...LAYERS[volume.role] };
        if (volume.role === "zscore") Object.assign(look, this.range(this.threshold));
        if (volume.role === "scan" && i > 0) look.opacity = 0;
        return niivue.NVImage.loadFromUrl({ url: bytesOf(volume), name: volume.name, ...look });
      });
      this.niivue.volumes = await Promise.all(images);
      this.niivue.setVolume(this.niivue.volumes[0], 0);  // all of them go to the graphics card at once
      canvas.addEventListener("keydown", (event) => {
        if (!STEP[event.key]) return;
        event.preventDefault();
        this.niivue.moveCrosshairInVox(...STEP[event.key]);
      });
    }

    // Where a role's volume is, -1 where there is none.
    layer(role) { return this.volumes.findIndex((volume) => volume.role === role); }

    range(from) { return { cal_min: from, cal_max: Math.max(HIGHEST, from + 1) }; }

    change(i, look) {
      Object.assign(this.niivue.volumes[i], look);
      // once a frame, however fast a slider moves
      this.waiting ??= requestAnimationFrame(() => { this.waiting = null; this.niivue.updateGLVolume(); });
    }

    // Calls back with words for the place under the crosshair, whenever it or what is shown there changes.
    tell(say) {
      const zscore = this.layer("zscore");
      this.niivue.onLocationChange = ({ mm, values }) => {
        const shown = values[this.ground]?.value.toPrecision(3) ?? "–";
        const words = [`${position(mm)} mm`, `${called(this.volumes[this.ground])} ${shown}`];
        if (zscore >= 0) words.push(`z ${values[zscore]?.value.toFixed(1) ?? "–"}`);
        say(words.join("   ·   "));
      };
    }

    jump(mm) {
      this.niivue.scene.crosshairPos = this.niivue.mm2frac(mm, 0, true);  // true: by the affine, oblique or not
      this.niivue.createOnLocationChange();
      this.niivue.drawScene();
    }

    middle() { return [...this.niivue.frac2mm([0.5, 0.5, 0.5], 0, true)].slice(0, 3); }
  }

  const called = ({ role, label }) => (role === "recon" ? "Reconstruction" : label ?? "Scan");

  function groundControl(view) {
    const grounds = [...view.volumes.keys()].filter((i) => ["scan", "recon"].includes(view.volumes[i].role));
    if (grounds.length < 2) return [];
    const options = grounds.map((i) => make("option", { value: i, textContent: called(view.volumes[i]) }));
    const select = make("select", { name: "ground" }, ...options);
    select.addEventListener("change", () => {
      view.ground = +select.value;
      for (const i of grounds) view.change(i, { opacity: +(i === view.ground) });
      view.niivue.createOnLocationChange();
    });
    return [labelled("Shown", select)];
  }

  function zControls(view) {
    const at = view.layer("zscore");
    if (at < 0) return [];
    const colours = scale();
    const set = (from) => {
      const range = view.range(from);
      colours.tell(range.cal_min, range.cal_max);
      view.change(at, range);
    };
    const level = slider("threshold", Math.max(HIGHEST, view.threshold), view.threshold, set);
    const reset = make("button", { type: "button", textContent: "Reset", title: "Back to the threshold of anomalies" });
    reset.addEventListener("click", () => level.set(view.threshold));
    const strength = slider("opacity", 1, LAYERS.zscore.opacity, (opacity) => view.change(at, { opacity }));
    set(view.threshold);
    return [colours.element, labelled("z from", make("span", { className: "viewer-range" }, ...level.parts)), reset,
      labelled("Opacity", make("span", { className: "viewer-range" }, ...strength.parts))];
  }

  function maskControls(view) {
    const masks = [["anomaly", "Anomaly mask"], ["brain", "Brain mask"]].filter(([role]) => view.layer(role) >= 0);
    return masks.map(([role, words]) => {
      const box = make("input", { type: "checkbox", name: role });
      box.addEventListener("change", () => view.change(view.layer(role), { opacity: box.checked ? 0.45 : 0 }));
      return make("label", { className: "viewer-check" }, box, make("span", { textContent: words }));
    });
  }

  function componentRegion(components, jump) {
    const table = make("div", { className: "scroll viewer-components", tabIndex: 0 }, componentTable(components, jump));
    table.setAttribute("role", "region");
    table.setAttribute("aria-label", "Components");
    return table;
  }

  return { show };
})();
