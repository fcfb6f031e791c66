// Replays in the sandbox that were done in this tab. Their reports are shown again rather than made
// again: to open an address must not execute anything anew, and in the shadow nothing at all.

import { effect, signal } from '@preact/signals';
import { post } from '../../api/client';
import type { ReplayReport } from '../../api/types';
import { session } from '../../core/session';

export type SandboxMode = 'sandbox' | 'shadow';

/** What its address says of a replay. */
export interface Asked {
  run: string;
  mode: SandboxMode;
  /** Empty: the current one. */
  version: string;
  /** Whose version it is; empty: that of the run. */
  environment: string;
  isEdited: boolean;
}

interface Done {
  report: ReplayReport;
  /** What was sent, so that the same can be done again. */
  body: string;
}

/** A report may be as large as 1 MiB. */
const MAX_REPORTS = 5;
const reports = signal<ReadonlyMap<string, Done>>(new Map());

effect(() => {
  if (session.value === 'signed-out') reports.value = new Map();
});

export function keyOf({ run, mode, version, environment, isEdited }: Asked): string {
  return JSON.stringify([run, mode, version, environment, isEdited]);
}

export function reportOf(asked: Asked): ReplayReport | undefined {
  return reports.value.get(keyOf(asked))?.report;
}

/** Replays, and keeps the report. Without a body: as it was asked for before, or else as the address says. */
export async function replayInSandbox(asked: Asked, body = bodyOf(asked)): Promise<void> {
  const query = asked.environment ? { environment: asked.environment } : {};
  const answer = await post('/api/v1/runs/{run}/replay', { path: { run: asked.run }, query, bodyText: body });
  if (!('verdict' in answer)) throw new Error('A replay in the sandbox made a run.');
  const others = [...reports.peek()].filter(([key]) => key !== keyOf(asked));
  reports.value = new Map([...others, [keyOf(asked), { report: answer, body }] as const].slice(-MAX_REPORTS));
}

function bodyOf(asked: Asked): string {
  const { mode, version } = asked;
  return reports.peek().get(keyOf(asked))?.body ?? JSON.stringify({ mode, ...(version ? { version } : {}) });
}

/** The query of its address. */
export function searchOf({ version, environment, isEdited }: Asked): string {
  const search = new URLSearchParams();
  if (version) search.set('version', version);
  if (environment) search.set('environment', environment);
  if (isEdited) search.set('payload', 'edited');
  return search.size > 0 ? `?${search}` : '';
}
