// A replay as the dialog describes it, and as the API takes it. Pure. Only what was changed is sent:
// the rest is taken from the source run, exactly as it was.

import type { ReplayReport, RunDetails } from '../../api/types';
import { formatJson } from '../../api/exact';
import { givenOptions, NO_OPTIONS, tagList, type RunOptionValues } from '../../ui/RunOptions';

export type Mode = 'live' | 'sandbox' | 'shadow' | 'from-failure';

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

/** The body of the request, as JSON text: payload and metadata reach the server as they were typed. */
export function bodyOf(draft: Draft, original: Draft): string {
  const { mode } = draft;
  const isSandboxed = mode === 'sandbox' || mode === 'shadow';
  const parts: string[] = [];
  const add = (name: string, json: string) => parts.push(`${JSON.stringify(name)}:${json}`);
  if (draft.payload !== original.payload && draft.payload.trim() !== '' && mode !== 'from-failure') add('payload', draft.payload);
  if (draft.version) add('version', JSON.stringify(draft.version));
  if (isSandboxed) {
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

/** Reports of replays with an edited payload: they cannot be asked for again by their address. */
const editedReports = new Map<string, ReplayReport>();

export function keepEdited(report: ReplayReport): void {
  editedReports.set(report.sourceRunId, report);
}

export function editedReport(run: string): ReplayReport | undefined {
  return editedReports.get(run);
}
