// Puts a text on the clipboard and says so.

import { useState } from 'preact/hooks';
import { toast } from '../core/toast';
import { Icon } from './Icon';

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    toast('The browser does not let this page use the clipboard: select the text and copy it by hand.', 'error');
    return false;
  }
}

/** A long text is made when it is wanted. */
export function Copy({ text, label }: { text: string | (() => string); label: string }) {
  const [isDone, setDone] = useState(false);
  const copy = async () => {
    if (!(await copyText(typeof text === 'string' ? text : text()))) return;
    setDone(true);
    setTimeout(() => setDone(false), 1_500);
  };
  return (
    <button
      type="button"
      class="quiet copy"
      onClick={copy}
      aria-label={isDone ? 'Copied' : `Copy ${label}`}
      title={`Copy ${label}`}
    >
      <Icon name={isDone ? 'check' : 'copy'} />
    </button>
  );
}

/** An id in full, to be copied. */
export function Id({ id, label = 'the id' }: { id: string; label?: string }) {
  return (
    <span class="id">
      <code>{id}</code>
      <Copy text={id} label={label} />
    </span>
  );
}
