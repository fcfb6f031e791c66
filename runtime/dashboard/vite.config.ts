// How the page is built: the same input gives the same bytes, so that CI can build `dist/` again
// and compare. Nothing is inlined, because the page's Content-Security-Policy allows no inline code.
import { defineConfig, loadEnv } from 'vite';

const server = loadEnv('', '.', 'DACAPO_').DACAPO_URL ?? 'http://127.0.0.1:3040';

export default defineConfig({
  base: '/dashboard/',
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // CodeMirror is one lazy chunk of about 400 kB before compression.
    chunkSizeWarningLimit: 500,
  },
  server: {
    proxy: Object.fromEntries(['/api', '/admin', '/openapi.json', '/healthz'].map((path) => [path, server])),
  },
});
