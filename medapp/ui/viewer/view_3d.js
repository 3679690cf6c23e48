// 3-D view: the image inside the brain, lit, with surfaces. It is drawn anew only when it has changed: a slow drawing that
// the slices, which follow the hand, do not wait for.

function createSurfaces(stage) {
  const { nv } = stage;
  const { gl } = nv;
  const meshes = new Map(); // address to mesh
  let brainVolume = null; // NiiVue's volume of the image inside the brain
  let isReady = false; // the image is lit, and the surfaces are there
  let version = 0; // of what is displayed
  let drawn = ''; // what the copy below shows
  let drawnBox = ''; // where
  let restsUntil = 0; // until then it is not drawn for a new size alone
  let copy = null; // { texture, buffer, width, height }
  let slice = null; // NiiVue's entry of the tile
  let timer = 0;

  const draw3D = nv.draw3D.bind(nv);
  nv.draw3D = (rect = [0, 0, 0, 0], ...rest) => {
    const box = rect[2] ? rect : [0, 0, gl.canvas.width, gl.canvas.height];
    if (!(box[2] >= 1 && box[3] >= 1)) return push(box); // a tab that is not shown
    const { renderAzimuth, renderElevation, volScaleMultiplier, clipPlaneDepthAziElevs } = nv.scene;
    const state = JSON.stringify([version, renderAzimuth, renderElevation, volScaleMultiplier, clipPlaneDepthAziElevs]);
    if (!isReady || nv.uiData.mouseDepthPicker) return isReady ? draw3D(rect, ...rest) : push(box);
    if (state === drawn && slice) {
      const wait = Math.max(restsUntil - performance.now(), 0);
      if (String(box) === drawnBox) return paste(box);
      if (wait) { change(wait); return paste(box); }
    }
    const text = draw3D(rect, ...rest);
    slice = nv.screenSlices.at(-1);
    keep(box);
    [drawn, drawnBox] = [state, String(box)];
    return text;
  };

  function push(box) {
    nv.screenSlices.push(slice ?? { leftTopWidthHeight: [...box], axCorSag: 4, sliceFrac: 0, AxyzMxy: [], leftTopMM: [], fovMM: [1, 0] });
    return '';
  }

  const flip = ([left, top, width, height]) => [left, gl.canvas.height - top - height, left + width, gl.canvas.height - top].map(Math.round);

  function keep(box) { // a copy of what has been drawn
    const [x0, y0, x1, y1] = flip(box);
    const [width, height] = [x1 - x0, y1 - y0];
    if (!copy || copy.width !== width || copy.height !== height) {
      if (copy) { gl.deleteTexture(copy.texture); gl.deleteFramebuffer(copy.buffer); }
      copy = { texture: gl.createTexture(), buffer: gl.createFramebuffer(), width, height };
      gl.activeTexture(gl.TEXTURE0 + 27);
      gl.bindTexture(gl.TEXTURE_2D, copy.texture);
      gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, width, height);
      gl.activeTexture(gl.TEXTURE0);
      gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, copy.buffer);
      gl.framebufferTexture2D(gl.DRAW_FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, copy.texture, 0);
    }
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, null);
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, copy.buffer);
    gl.blitFramebuffer(x0, y0, x1, y1, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  function paste(box) {
    const [x0, y0, x1, y1] = flip(box);
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, copy.buffer);
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
    gl.blitFramebuffer(0, 0, copy.width, copy.height, x0, y0, x1, y1, gl.COLOR_BUFFER_BIT, gl.LINEAR);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    return push(box);
  }

  const drawImage = nv.drawImage3D.bind(nv);
  nv.drawImage3D = (...rest) => { if (!hasSolid()) drawImage(...rest); };
  const hasSolid = () => (stage.scene?.surfaces ?? []).some((surface) => !surface.is_seen_through);

  for (const name of ['refreshLayers', 'updateGLVolume']) { // NiiVue leaves the old texture of the overlays behind
    const before = nv[name].bind(nv);
    nv[name] = (...rest) => {
      const old = nv.overlayTexture;
      const answer = before(...rest);
      if (old && old !== nv.overlayTexture && gl.isTexture(old)) gl.deleteTexture(old);
      version++;
      hideOverlays();
      return answer;
    };
  }

  function hideOverlays() { // what is compared lies on the slices only
    if (!nv.renderShader) return;
    nv.renderShader.use(gl);
    gl.uniform1f(nv.renderShader.uniforms.overlays, 0);
  }

  function change(delay = 0) { // draw it anew, soon
    clearTimeout(timer);
    timer = setTimeout(() => { version++; stage.draw(); }, delay);
  }

  function follow() { // a lesion goes with its regions
    const isShown = !stage.scene.live || stage.live.isDrawn();
    for (const mesh of meshes.values()) mesh.visible = mesh.seenThrough ? isShown : true;
    change();
  }

  let wasCut = false;
  function cut(asked = false) { // the view loses what is above the crosshair
    const open = stage.field('cut').checked;
    if (!open && !wasCut) return;
    if (!asked && !open) return;
    nv.setClipPlane(open ? [nv.scene.crosshairPos[2] - 0.5, 0, 90] : [2, 0, 0]); // keeps what is below
    wasCut = open;
  }

  return {
    change,
    rest(ms) { restsUntil = performance.now() + ms; }, // another picture is on its way
    cut,
    follow,
    hideOverlays,
    async light() { // the image as a lit volume, opaque inside the brain, before any other volume is added
      const { scene } = stage;
      const brain = scene.brain && (await stage.loadVolume(scene.brain, {}));
      if (stage.scene !== scene || stage.layout.findFlat()) return;
      if (brain) {
        Object.assign(brain, { cal_min: 0, cal_max: 255, opacity: 0 });
        Object.assign(nv.volumes[0], { modulationImage: 1, modulateAlpha: 1 });
        nv.addVolume(brain);
      }
      brainVolume = brain;
      await nv.setVolumeRenderIllumination(0.6);
    },
    async changeBrain(before) { // the same image inside another mask
      const { scene } = stage;
      if (!brainVolume || !scene.brain || nameFile(scene.brain) === nameFile(before?.brain ?? scene.brain)) return;
      const brain = await stage.loadVolume(scene.brain, {});
      if (stage.scene !== scene) return;
      brainVolume.img = brain.img;
      nv.updateGLVolume();
    },
    reset() { isReady = false; clearTimeout(timer); },
    async load() {
      const { NVMesh } = window.niivue;
      const { scene } = stage;
      for (const [url, mesh] of meshes) {
        if (scene.surfaces.some((surface) => surface.file.url === url)) continue;
        nv.removeMesh(mesh);
        meshes.delete(url);
      }
      for (const surface of scene.surfaces) {
        const { url } = surface.file;
        if (meshes.has(url)) continue;
        const mesh = await NVMesh.loadFromUrl({ url, gl, name: surface.file.orig_name, rgba255: [220, 215, 210, 255], opacity: 1 });
        if (stage.scene !== scene) return;
        mesh.seenThrough = surface.is_seen_through;
        nv.addMesh(mesh);
        meshes.set(url, mesh);
      }
      nv.opts.meshXRay = scene.surfaces.some((surface) => surface.is_seen_through) ? 0.55 : 0;
      const ramp = scene.surfaces.find((surface) => surface.ramp.length);
      stage.ramp3D(ramp);
      isReady = true;
      follow();
    },
  };
}
