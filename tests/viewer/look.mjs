// Looks at one study and its results in the OHIF viewer, as a radiologist would, and judges what is on the screen.
//
//   node look.mjs VIEWER_FOLDER PACS_ADDRESS STUDY_INSTANCE_UID NAME SCREENSHOT_FOLDER
//
// VIEWER_FOLDER is what .ci/setup/viewer.sh made. For each heatmap series of the study (told by its series number) it
// shows the source and the heatmap side by side: the heatmap must be visible and must scroll with its source. Then it
// opens the structured report: its probability must be drawn on the source slice. Prints one line of JSON with
// what it measured and exits 1, with the reasons, if something is not as it must be.

import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { serveViewer } from './server.mjs';

const DEADLINE_MS = 30_000;
const HEATMAP_SERIES_NUMBERS = [9101, 9102];
const REPORT_SERIES_NUMBER = 9401;
const PROBABILITY_CODE = '122157';
// A heatmap colours a region; what a source series or the viewer's own decoration has of warm pixels is noise.
const VISIBLE_WARM_PIXELS = 500;
const NOISE_WARM_PIXELS = 50;

const [viewerFolder, pacs, study, name, screenshots] = process.argv.slice(2);
if (!screenshots) {
  console.error('usage: node look.mjs VIEWER_FOLDER PACS_ADDRESS STUDY_INSTANCE_UID NAME SCREENSHOT_FOLDER');
  process.exit(2);
}
const { chromium } = createRequire(path.join(viewerFolder, 'node_modules', 'any'))('playwright-core');
mkdirSync(screenshots, { recursive: true });

// What runs inside the page ----------------------------------------------------------------------------------------

// Every series of the study as the viewer understood it.
function listDisplaySets() {
  return window.services.displaySetService.getActiveDisplaySets().map(set => ({
    uid: set.displaySetInstanceUID,
    modality: set.Modality,
    seriesNumber: Number(set.SeriesNumber),
    description: set.SeriesDescription,
    frames: set.numImageFrames,
    unsupported: Boolean(set.unsupported),
    instances: (set.instances ?? (set.instance ? [set.instance] : [])).map(instance => ({
      sop: instance.SOPInstanceUID,
      sources: [instance.SourceImageSequence ?? []].flat().map(source => source.ReferencedSOPInstanceUID),
    })),
  }));
}

// Shows these display sets side by side, one stack viewport each, and waits for nothing.
function showSideBySide(displaySetUids) {
  const { viewportGridService } = window.services;
  viewportGridService.setLayout({
    numRows: 1,
    numCols: displaySetUids.length,
    findOrCreateViewport: position => ({
      displaySetInstanceUIDs: [displaySetUids[position]],
      displaySetOptions: [{}],
      viewportOptions: { viewportId: `viewer-test-${position}-${displaySetUids[position]}`, viewportType: 'stack' },
    }),
  });
}

// Whether every image request has been answered: a viewport must not be taken away while its images arrive.
function nothingIsLoading() {
  const { requestPool, numRequests } = window.cornerstone.imageLoadPoolManager;
  const waiting = Object.values(requestPool).flatMap(pool => Object.values(pool)).flat().length;
  return waiting + Object.values(numRequests).reduce((sum, count) => sum + count, 0) === 0;
}

function viewportOf(displaySetUid) {
  const { viewportGridService, cornerstoneViewportService } = window.services;
  for (const [viewportId, viewport] of viewportGridService.getState().viewports) {
    if (viewport.displaySetInstanceUIDs?.[0] === displaySetUid) {
      return cornerstoneViewportService.getCornerstoneViewport(viewportId);
    }
  }
  return undefined;
}

// The image that a viewport shows now: its SOP instance, and the image plane's position, once it is drawn.
function shownImage(displaySetUid) {
  const viewport = viewportOf(displaySetUid);
  const imageId = viewport?.getCurrentImageId?.();
  if (!imageId || viewport.csImage?.imageId !== imageId) return null;
  const plane = window.cornerstone.metaData.get('imagePlaneModule', imageId);
  const sop = window.cornerstone.metaData.get('sopCommonModule', imageId)?.sopInstanceUID;
  return { sop, position: plane?.imagePositionPatient ? Array.from(plane.imagePositionPatient) : null };
}

function imageIndexOf(displaySetUid, sop) {
  const viewport = viewportOf(displaySetUid);
  return viewport.getImageIds().findIndex(id => window.cornerstone.metaData.get('sopCommonModule', id)?.sopInstanceUID === sop);
}

async function jumpTo(displaySetUid, index) {
  await window.cornerstone.utilities.jumpToSlice(viewportOf(displaySetUid).element, { imageIndex: index });
}

function synchronise(displaySetUids) {
  for (const uid of displaySetUids) {
    const viewport = viewportOf(uid);
    window.services.syncGroupService.addViewportToSyncGroup(viewport.id, viewport.renderingEngineId, {
      type: 'imageSlice',
      id: 'viewer-test',
      source: true,
      target: true,
    });
  }
}

// Pixels of a viewport's picture that are clearly warmer than grey: red above green and above blue.
function countWarmPixels(displaySetUid) {
  const drawn = viewportOf(displaySetUid).canvas;
  const copy = new OffscreenCanvas(drawn.width, drawn.height).getContext('2d');
  copy.drawImage(drawn, 0, 0);
  const { data } = copy.getImageData(0, 0, drawn.width, drawn.height);
  let warm = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i] - data[i + 1] > 40 && data[i] - data[i + 2] > 40) warm += 1;
  }
  return warm;
}

// The texts of annotations that are drawn over any viewport, as SVG.
function drawnTexts() {
  return Array.from(document.querySelectorAll('.viewport-element svg text, .cornerstone-viewport-element svg text, svg.svg-layer text'))
    .filter(text => text.getBoundingClientRect().width > 0)
    .map(text => text.textContent.trim())
    .filter(text => text.length > 0);
}

const IN_PAGE = [listDisplaySets, showSideBySide, nothingIsLoading, viewportOf, shownImage, imageIndexOf, jumpTo, synchronise, countWarmPixels, drawnTexts];

// What drives it ---------------------------------------------------------------------------------------------------

const failures = [];
function must(condition, sentence) {
  if (!condition) failures.push(sentence);
}

async function call(page, what, ...args) {
  return page.evaluate(([fn, fnArgs]) => window.viewerTest[fn](...fnArgs), [what.name, args]);
}

// Waits until the page's function answers something for which `until` (run here) is true.
async function waitFor(page, description, what, args, until) {
  const end = Date.now() + DEADLINE_MS;
  let last;
  while (Date.now() < end) {
    last = await call(page, what, ...args).catch(error => String(error));
    if (until(last)) return last;
    await page.evaluate(() => new Promise(done => requestAnimationFrame(done)));
  }
  throw new Error(`${description}: not within ${DEADLINE_MS / 1000} s; last seen: ${JSON.stringify(last)}`);
}

async function show(page, displaySetUids) {
  await waitFor(page, 'the images have arrived', nothingIsLoading, [], idle => idle === true);
  await call(page, showSideBySide, displaySetUids);
}

async function lookAtHeatmap(page, heatmap, source, wantedSop) {
  const pair = [source.uid, heatmap.uid];
  await show(page, pair);
  for (const uid of pair) await waitFor(page, 'a series is shown', shownImage, [uid], shown => shown?.sop);

  const heatmapInstance = heatmap.instances.find(instance => instance.sources.includes(wantedSop));
  must(heatmapInstance, `no heatmap object of series ${heatmap.seriesNumber} names ${wantedSop} as its source`);
  if (!heatmapInstance) return {};
  for (const [set, sop] of [[source, wantedSop], [heatmap, heatmapInstance.sop]]) {
    const index = await call(page, imageIndexOf, set.uid, sop);
    await call(page, jumpTo, set.uid, index);
    await waitFor(page, 'the slice is shown', shownImage, [set.uid], shown => shown?.sop === sop);
  }
  const warmHeatmap = await waitFor(page, 'the heatmap has warm pixels', countWarmPixels, [heatmap.uid], count => count > VISIBLE_WARM_PIXELS)
    .catch(() => call(page, countWarmPixels, heatmap.uid));
  const warmSource = await call(page, countWarmPixels, source.uid);
  must(warmHeatmap > VISIBLE_WARM_PIXELS, `the heatmap ${heatmap.seriesNumber} is not visible: ${warmHeatmap} warm pixels`);
  must(warmSource < NOISE_WARM_PIXELS, `the source of ${heatmap.seriesNumber} shows ${warmSource} warm pixels`);
  await page.screenshot({ path: path.join(screenshots, `${name}-${heatmap.seriesNumber}-heatmap.png`) });

  const before = await call(page, shownImage, source.uid);
  await call(page, synchronise, pair);
  const index = await call(page, imageIndexOf, source.uid, wantedSop);
  const step = index + 5 < source.instances.length ? 5 : -5;
  await call(page, jumpTo, source.uid, index + step);
  const moved = await waitFor(page, 'the source scrolls', shownImage, [source.uid], shown => shown && shown.sop !== before.sop);
  const followed = await waitFor(page, 'the heatmap scrolls with its source', shownImage, [heatmap.uid], shown => shown && shown.sop !== heatmapInstance.sop)
    .catch(() => call(page, shownImage, heatmap.uid));
  const distance = Math.hypot(...moved.position.map((value, axis) => value - followed.position[axis]));
  must(distance < 0.01, `after scrolling the source is at ${moved.position} and the heatmap at ${followed.position}`);
  await page.screenshot({ path: path.join(screenshots, `${name}-${heatmap.seriesNumber}-scrolled.png`) });
  return { series: heatmap.seriesNumber, warmHeatmap, warmSource, scrolledTo: moved.position, heatmapAt: followed.position };
}

async function lookAtReport(page, report, { points, percents }) {
  await show(page, [report.uid]);
  const expected = percents.map(percent => `${percent.toFixed(2)} %`);
  const isProbability = text => text.includes('Probability') && expected.some(percent => text.includes(percent));
  const texts = await waitFor(page, `the report's probability (${expected}) is drawn`, drawnTexts, [], drawn => drawn.some(isProbability)).catch(error => {
    must(false, error.message);
    return [];
  });
  const shown = await call(page, shownImage, report.uid);
  must(points.includes(shown?.sop), `the report is drawn on ${shown?.sop}, but points at ${points}`);
  await page.screenshot({ path: path.join(screenshots, `${name}-${report.seriesNumber}-report.png`) });
  return texts.filter(isProbability);
}

// What the study's report says: the SOP instances that it points at, and its probabilities in percent.
async function readReport() {
  const answer = await fetch(`${pacs}/dicom-web/studies/${study}/metadata`, { headers: { Accept: 'application/dicom+json' } });
  const report = { points: [], percents: [] };
  const walk = item => {
    const children = item['0040A730']?.Value ?? [];
    const valueType = item['0040A040']?.Value?.[0];
    if (valueType === 'SCOORD') {
      for (const child of children) {
        for (const reference of child['00081199']?.Value ?? []) report.points.push(reference['00081155'].Value[0]);
      }
    }
    if (valueType === 'NUM' && item['0040A043'].Value[0]['00080100'].Value[0] === PROBABILITY_CODE) {
      report.percents.push(Number(item['0040A300'].Value[0]['0040A30A'].Value[0]));
    }
    children.forEach(walk);
  };
  for (const instance of await answer.json()) walk(instance);
  return report;
}

async function look() {
  const viewer = await serveViewer(path.join(viewerFolder, 'ohif', 'dist'), new URL(pacs));
  const browser = await chromium.launch({
    executablePath: process.env.FCDD_CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist'],
  });
  const complaints = [];
  try {
    const page = await browser.newPage({ viewport: { width: 1400, height: 800 } });
    page.setDefaultTimeout(DEADLINE_MS);
    page.on('pageerror', error => complaints.push(error.stack));
    page.on('console', message => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
    await page.addInitScript(`localStorage.setItem('shownTours', '["basicViewerTour"]'); window.viewerTest = {}; ${IN_PAGE.map(fn => `${fn}\nwindow.viewerTest.${fn.name} = ${fn.name};`).join('\n')}`);
    const told = await readReport();
    must(told.points.length > 0, 'no report of the study points at a slice');

    await page.goto(`${viewer.address}/viewer?StudyInstanceUIDs=${study}`);
    await page.waitForFunction(() => window.services?.displaySetService?.getActiveDisplaySets().length > 0 && document.querySelector('canvas'));
    const sets = await call(page, listDisplaySets);
    const heatmaps = sets.filter(set => HEATMAP_SERIES_NUMBERS.includes(set.seriesNumber));
    const report = sets.find(set => set.seriesNumber === REPORT_SERIES_NUMBER);
    must(heatmaps.length > 0, 'the viewer lists no heatmap series');
    must(report && !report.unsupported, 'the viewer lists no report that it can show');

    const seen = { name, heatmaps: [], report: [] };
    for (const heatmap of heatmaps) {
      const sources = new Set(heatmap.instances.flatMap(instance => instance.sources));
      const source = sets.find(set => set.uid !== heatmap.uid && set.instances.some(instance => sources.has(instance.sop)));
      must(source, `the source of the heatmap series ${heatmap.seriesNumber} is not in the study`);
      if (!source) continue;
      const ownPoint = told.points.find(sop => source.instances.some(instance => instance.sop === sop));
      const middle = source.instances[Math.floor(source.instances.length / 2)].sop;
      seen.heatmaps.push(await lookAtHeatmap(page, heatmap, source, ownPoint ?? middle));
    }
    if (report) seen.report = await lookAtReport(page, report, told);
    console.log(JSON.stringify(seen));
  } finally {
    await browser.close();
    viewer.close();
    if (failures.length > 0) console.error(`the page complained: ${complaints.slice(-8).join('\n')}`);
  }
}

await look().catch(error => failures.push(error.stack));
if (failures.length > 0) {
  console.error(failures.map(failure => `FAILED: ${failure}`).join('\n'));
  process.exit(1);
}
