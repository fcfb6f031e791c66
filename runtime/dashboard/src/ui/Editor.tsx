// Where JSON is edited and compared. The parts behind it are loaded when one is first shown.

import { lazy } from '../core/lazy';
import type { JsonDiffProps } from './editor/JsonDiff';
import type { JsonEditorProps } from './editor/JsonEditor';
import '../styles/editor.css';

export const Editor = lazy<JsonEditorProps>(async () => (await import('./editor/JsonEditor')).JsonEditor);
export const Diff = lazy<JsonDiffProps>(async () => (await import('./editor/JsonDiff')).JsonDiff);

/** Why a text is not JSON, in a sentence; `undefined` if it is. */
export function jsonComplaint(text: string): string | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    return `This is not JSON: ${(error as Error).message}`;
  }
}

/** The same for a text that must be an object, or nothing. */
export function objectComplaint(text: string): string | undefined {
  if (text.trim() === '') return undefined;
  const complaint = jsonComplaint(text);
  if (complaint) return complaint;
  return /^\s*\{/.test(text) ? undefined : 'It must be a JSON object, such as {"customer": "acme"}.';
}
