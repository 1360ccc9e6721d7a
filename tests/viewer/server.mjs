// Serves the OHIF viewer's built pages on loopback, as one origin with the PACS's DICOMweb.
//
// The two Cross-Origin headers allow the viewer its shared memory; `/dicom-web` is passed on to the PACS, so that the
// browser sees no second origin; `/app-config.js` is ours; any other unknown path is one of the viewer's own routes.

import { createReadStream, existsSync, statSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';

const CONTENT_TYPES = {
  '.css': 'text/css',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.mjs': 'text/javascript',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.ttf': 'font/ttf',
  '.wasm': 'application/wasm',
  '.woff2': 'font/woff2',
};

const DATA_SOURCE = {
  namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
  sourceName: 'pacs',
  configuration: {
    friendlyName: 'PACS',
    name: 'pacs',
    wadoUriRoot: '/dicom-web',
    qidoRoot: '/dicom-web',
    wadoRoot: '/dicom-web',
    imageRendering: 'wadors',
    thumbnailRendering: 'wadors',
    enableStudyLazyLoad: true,
    supportsWildcard: true,
  },
};

// `origin` is replaced by the address that the viewer was loaded from: OHIF wants absolute addresses.
function viewerConfiguration() {
  return `window.config = {
  routerBasename: '/',
  extensions: [],
  modes: [],
  customizationService: {},
  showStudyList: false,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false,
  showLoadingIndicator: false,
  investigationalUseDialog: { option: 'never' },
  strictZSpacingForVolumeViewport: true,
  maxNumberOfWebWorkers: 2,
  defaultDataSourceName: 'pacs',
  dataSources: [${JSON.stringify(DATA_SOURCE)}],
};
for (const source of window.config.dataSources) {
  for (const root of ['wadoUriRoot', 'qidoRoot', 'wadoRoot']) {
    source.configuration[root] = window.location.origin + source.configuration[root];
  }
}
`;
}

function passOn(request, response, pacs) {
  const upstream = http.request(
    { host: pacs.hostname, port: pacs.port, method: request.method, path: request.url, headers: { ...request.headers, host: pacs.host } },
    answer => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    },
  );
  upstream.on('error', error => {
    response.writeHead(502);
    response.end(String(error));
  });
  request.pipe(upstream);
}

// Starts the server on a free loopback port; the promise is its address. `pages` is OHIF's `dist` folder, `pacs` the
// PACS's web address (its DICOMweb lies under /dicom-web).
export function serveViewer(pages, pacs) {
  const server = http.createServer((request, response) => {
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    const asked = decodeURIComponent(new URL(request.url, 'http://viewer').pathname);
    if (asked.startsWith('/dicom-web')) {
      passOn(request, response, pacs);
      return;
    }
    if (asked === '/app-config.js') {
      response.setHeader('Content-Type', 'text/javascript');
      response.end(viewerConfiguration());
      return;
    }
    let file = path.join(pages, path.normalize(asked));
    if (!existsSync(file) || !statSync(file).isFile()) file = path.join(pages, 'index.html');
    response.setHeader('Content-Type', CONTENT_TYPES[path.extname(file)] ?? 'application/octet-stream');
    createReadStream(file).pipe(response);
  });
  return new Promise(resolve => {
    server.listen(0, '127.0.0.1', () => resolve({ address: `http://127.0.0.1:${server.address().port}`, close: () => server.close() }));
  });
}
