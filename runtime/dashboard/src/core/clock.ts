// The time as the page shows it: one tick a second for all that counts, none while the tab is hidden.

import { signal } from '@preact/signals';

/** Milliseconds since 1970, renewed every second. */
export const now = signal(Date.now());

setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1_000);
document.addEventListener('visibilitychange', () => {
  now.value = Date.now();
});
