// A replay as the dialog describes it, and as the API takes it. Pure. Only what was changed is sent:
// the rest is taken from the source run, exactly as it was.

import type { RunDetails } from '../../api/types';
import { formatJson } from '../../api/exact';
import { jsonComplaint } from '../../ui/Editor';
import { givenOptions, NO_OPTIONS, tagList, type RunOptionValues } from '../../ui/RunOptions';
import type { SandboxMode } from './reports';

export type Mode = SandboxMode | 'live' | 'from-failure';

/** Whether a replay in this mode makes no run. */
export function isSandboxed(mode: Mode): mode is SandboxMode {
  return mode === 'sandbox' || mode === 'shadow';
}

export interface Draft {
  mode: Mode;
  payload: string;
  metadata: string;
  environment: string;
  /** Empty: the current one. */
  version: string;
  options: RunOptionValues;
}

/** What the dialog shows at first. */
export function draftOf(run: RunDetails, environment: string): Draft {
  return {
    mode: 'live',
    payload: run.payload === undefined ? '' : formatJson(run.payload),
    metadata: run.metadata === undefined || run.metadata === null ? '' : formatJson(run.metadata),
    environment,
    version: '',
    options: { ...NO_OPTIONS, tags: run.tags.join(', ') },
  };
}

/** Why the payload cannot be sent; one that was emptied would silently be that of the source run. */
export function payloadComplaint({ mode, payload }: Draft, original: Draft): string | undefined {
  if (mode === 'from-failure' || payload === original.payload) return undefined;
  return payload.trim() === '' ? 'This must be JSON: for a run without a payload, write null.' : jsonComplaint(payload);
}

/** The body of the request, as JSON text: payload and metadata reach the server as they were typed. */
export function bodyOf(draft: Draft, original: Draft): string {
  const { mode } = draft;
  const parts: string[] = [];
  const add = (name: string, json: string) => parts.push(`${JSON.stringify(name)}:${json}`);
  if (draft.payload !== original.payload && mode !== 'from-failure') add('payload', draft.payload);
  if (draft.version) add('version', JSON.stringify(draft.version));
  if (isSandboxed(mode)) {
    add('mode', JSON.stringify(mode));
    return `{${parts.join(',')}}`;
  }
  if (mode === 'from-failure') add('fromFailure', 'true');
  if (draft.metadata !== original.metadata) add('metadata', draft.metadata.trim() || '{}');
  if (draft.options.tags !== original.options.tags) add('tags', JSON.stringify(tagList(draft.options.tags)));
  if (draft.options.queue.trim()) add('queue', JSON.stringify(draft.options.queue.trim()));
  for (const [name, value] of Object.entries(givenOptions(draft.options))) add(name, JSON.stringify(value));
  return `{${parts.join(',')}}`;
}
