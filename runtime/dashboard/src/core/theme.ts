// Light or dark: as the system says, unless the reader has chosen.

import { computed, effect, signal } from '@preact/signals';
import { recall, remember } from './storage';

const THEMES = ['system', 'light', 'dark'] as const;
type Theme = (typeof THEMES)[number];

const stored = recall('theme');
export const theme = signal<Theme>(THEMES.find((known) => known === stored) ?? 'system');

const systemDark = window.matchMedia('(prefers-color-scheme: dark)');
const isSystemDark = signal(systemDark.matches);
systemDark.addEventListener('change', () => {
  isSystemDark.value = systemDark.matches;
});

/** What is shown: for what is drawn with colours rather than styled by them. */
export const isDark = computed(() => (theme.value === 'system' ? isSystemDark.value : theme.value === 'dark'));

effect(() => {
  const chosen = theme.value;
  remember('theme', chosen === 'system' ? undefined : chosen);
  if (chosen === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
});

export function nextTheme(): void {
  const place = THEMES.indexOf(theme.peek());
  theme.value = THEMES[(place + 1) % THEMES.length] ?? 'system';
}
