// The keyboard: every shortcut is registered here, so that `?` can list them all. They rest while
// somebody types or a dialog is open. Two keys one after the other are written `g r`.

import { signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { recall, remember } from './storage';

interface Shortcut {
  /** `j`, `Enter`, `shift+x`, `g r`. */
  keys: string;
  /** What it does, for the help. */
  label: string;
  group: string;
  run: () => void;
}

export const shortcuts = signal<Shortcut[]>([]);

/** Whether letters and signs are shortcuts: who speaks to the computer may want to switch them off. */
export const areLettersOn = signal(recall('letters') !== 'off');

export function switchLetters(isOn: boolean): void {
  areLettersOn.value = isOn;
  remember('letters', isOn ? undefined : 'off');
}

/** How long the first key of two is remembered. */
const PAIR_MS = 1_200;
let first: { key: string; at: number } | undefined;

/** Offers shortcuts while the component is there. `run` may change from one drawing to the next. */
export function useShortcuts(group: string, own: Record<string, [label: string, run: () => void]>): void {
  const latest = useRef(own);
  latest.current = own;
  const names = Object.keys(own).join(',');
  useEffect(() => {
    const added = Object.entries(latest.current).map(([keys, [label]]) => ({
      keys,
      label,
      group,
      run: () => latest.current[keys]?.[1](),
    }));
    shortcuts.value = [...added, ...shortcuts.peek()];
    return () => {
      shortcuts.value = shortcuts.peek().filter((shortcut) => !added.includes(shortcut));
    };
  }, [group, names]);
}

function pressed(event: KeyboardEvent): string {
  const isLetter = /^[a-z]$/i.test(event.key);
  return isLetter && event.shiftKey ? `shift+${event.key.toLowerCase()}` : event.key;
}

function rests(event: KeyboardEvent): boolean {
  // Editors live in a shadow of their own; the path sees into it.
  const target = event.composedPath()[0] as HTMLElement | undefined;
  if (event.key.length === 1 && event.key !== ' ' && !areLettersOn.peek()) return true;
  if (event.metaKey || event.ctrlKey || event.altKey || event.isComposing) return true;
  if (target?.closest?.('input, textarea, select, [contenteditable="true"]')) return true;
  if ((event.key === 'Enter' || event.key === ' ') && target?.closest?.('a, button, summary')) return true;
  return document.querySelector('dialog[open]') !== null;
}

window.addEventListener('keydown', (event) => {
  if (rests(event)) return;
  const key = pressed(event);
  const pair = first && event.timeStamp - first.at < PAIR_MS ? `${first.key} ${key}` : undefined;
  const known = shortcuts.peek();
  const found = (pair && known.find((item) => item.keys === pair)) || known.find((item) => item.keys === key);
  first = undefined;
  if (found) {
    event.preventDefault();
    found.run();
  } else if (known.some((item) => item.keys.startsWith(`${key} `))) {
    first = { key, at: event.timeStamp };
  }
});
