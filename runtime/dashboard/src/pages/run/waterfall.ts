// A trace as rows on one scale of time. Pure.

import type { SpanEvent, TraceSpan } from '../../api/types';

type RowKind = 'run' | 'attempt' | 'span' | 'child';

interface Segment {
  /** Milliseconds since 1970. */
  from: number;
  to: number;
  kind: 'queued' | 'waiting' | 'active';
}

export interface Row {
  span: TraceSpan;
  kind: RowKind;
  level: number;
  from: number;
  to: number;
  segments: Segment[];
  hasChildren: boolean;
}

export interface Waterfall {
  rows: Row[];
  from: number;
  /** Milliseconds; more than 0. */
  length: number;
  isCut: boolean;
}

interface State {
  at: number;
  status: string;
}

/** `folded` has the ids of spans whose children are left out. */
export function waterfall(root: TraceSpan, folded: ReadonlySet<string>): Waterfall {
  const states = statesOf(root);
  const rows: Row[] = [];
  const add = (span: TraceSpan, level: number) => {
    const kind = kindOf(span, root, level);
    const from = Date.parse(span.data.startTime);
    const to = from + span.data.duration / 1e6;
    const segments =
      kind === 'run' || kind === 'attempt' ? segmentsOf(states, from, to, kind) : [{ from, to, kind: 'active' as const }];
    rows.push({ span, kind, level, from, to, segments, hasChildren: span.children.length > 0 });
    if (!folded.has(span.id)) span.children.forEach((child) => add(child, level + 1));
  };
  add(root, 0);
  const from = Math.min(...rows.map((row) => row.from));
  const to = Math.max(...rows.map((row) => row.to));
  const properties = root.data.properties as { isTruncated?: boolean } | undefined;
  return { rows, from, length: Math.max(to - from, 0.001), isCut: properties?.isTruncated === true };
}

function kindOf(span: TraceSpan, root: TraceSpan, level: number): RowKind {
  if (span === root) return 'run';
  if (span.runId !== root.runId) return 'child';
  return level === 1 && /^Attempt \d+$/.test(span.data.message) && span.data.properties === undefined ? 'attempt' : 'span';
}

function statesOf(root: TraceSpan): State[] {
  return (root.data.events ?? [])
    .filter((event) => event.name === 'status')
    .map((event) => ({ at: Date.parse(event.time), status: String((event.properties as { status?: unknown }).status) }));
}

/** What the run was in during a span: of an attempt, only its waits stand out. */
function segmentsOf(states: State[], from: number, to: number, kind: RowKind): Segment[] {
  const segments: Segment[] = [];
  states.forEach((state, place) => {
    const begin = Math.max(state.at, from);
    const end = Math.min(states[place + 1]?.at ?? to, to);
    const look = lookOf(state.status, states[place - 1]?.status, kind);
    const last = segments.at(-1);
    if (end <= begin || !look) return;
    if (last && last.kind === look && last.to === begin) last.to = end;
    else segments.push({ from: begin, to: end, kind: look });
  });
  return segments.length > 0 ? segments : [{ from, to, kind: 'active' }];
}

function lookOf(status: string, before: string | undefined, kind: RowKind): Segment['kind'] | undefined {
  if (status === 'EXECUTING' || status === 'DEQUEUED') return 'active';
  if (status === 'WAITING') return 'waiting';
  if (status === 'QUEUED' && before === 'WAITING') return 'waiting';
  if (status === 'QUEUED' || status === 'DELAYED' || status === 'PENDING_VERSION') return kind === 'run' ? 'queued' : undefined;
  return undefined;
}

/** Round steps for the scale, `wanted` at most: milliseconds from the beginning. */
export function ticks(length: number, wanted: number): number[] {
  const rough = length / wanted;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * size).find((candidate) => candidate >= rough) ?? rough;
  return Array.from({ length: Math.floor(length / step) + 1 }, (_, place) => place * step);
}

/** Events of a span that are worth a mark. */
export function marks(span: TraceSpan): SpanEvent[] {
  return (span.data.events ?? []).filter((event) => event.name === 'exception');
}
