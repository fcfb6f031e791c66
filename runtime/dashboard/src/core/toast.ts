// Short messages at the edge of the page, which go by themselves.

import { signal } from '@preact/signals';

interface Toast {
  id: number;
  text: string;
  kind: 'done' | 'error';
}

export const toasts = signal<Toast[]>([]);
let last = 0;

export function toast(text: string, kind: Toast['kind'] = 'done'): void {
  const id = ++last;
  toasts.value = [...toasts.value.slice(-3), { id, text, kind }];
  setTimeout(() => dismiss(id), kind === 'error' ? 9_000 : 4_000);
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((item) => item.id !== id);
}
