// Where the reader is: the address as one signal, and the only ways to change it.
//
// Paths are `/dashboard/{environment}/{page}/…`. Segments are encoded one by one, because slugs and
// task ids may hold `/` and `%`; that is why no router library splits them.

import { computed, effect, signal } from '@preact/signals';

const BASE = '/dashboard/';

interface Place {
  path: string;
  query: string;
}

const read = (): Place => ({ path: window.location.pathname, query: window.location.search });
const place = signal<Place>(read());

/** The segments after `/dashboard/`, decoded. */
export const segments = computed(() => {
  const rest = place.value.path.startsWith(BASE) ? place.value.path.slice(BASE.length) : '';
  return rest.split('/').filter(Boolean).map(decode);
});

/** The query of the address. */
export const query = computed(() => new URLSearchParams(place.value.query));

/** Path and query together: changes with every step. */
export const address = computed(() => place.value.path + place.value.query);

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** The path of a page: `pathTo('dev', 'runs', id)`. */
export function pathTo(...parts: string[]): string {
  return BASE + parts.map(encodeURIComponent).join('/');
}

/** With what query each path was looked at last. */
const lastQueries = new Map<string, string>();
effect(() => {
  lastQueries.set(place.value.path, place.value.query);
});

/** A path as it was looked at last: the way back to a list leads to the same conditions and page of it. */
export function lastAt(path: string): string {
  return path + (lastQueries.get(path) ?? '');
}

/** Goes to a path of this page. `replace` leaves no step in the browser's history. */
export function navigate(to: string, replace = false): void {
  if (to === address.peek()) return;
  const samePath = to.split('?')[0] === place.peek().path;
  window.history[replace ? 'replaceState' : 'pushState'](null, '', to);
  place.value = read();
  if (!samePath) window.scrollTo(0, 0);
}

/** Changes parameters of the query; an empty value removes one. */
export function setQuery(changes: Record<string, string | undefined>, replace = false): void {
  const next = new URLSearchParams(query.peek());
  for (const [name, value] of Object.entries(changes)) {
    if (value) next.set(name, value);
    else next.delete(name);
  }
  navigate(place.peek().path + (next.size > 0 ? `?${next}` : ''), replace);
}

window.addEventListener('popstate', () => {
  place.value = read();
});

/** Plain clicks on links into this page stay in it; the browser does the rest. */
document.addEventListener('click', (event) => {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest('a');
  if (!link || link.target || link.hasAttribute('download') || link.origin !== window.location.origin) return;
  if (!link.pathname.startsWith(BASE)) return;
  event.preventDefault();
  navigate(link.pathname + link.search);
});
