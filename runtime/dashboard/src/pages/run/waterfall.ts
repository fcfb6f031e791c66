// A trace as rows on one scale of time: spans, and the calls that a run made of its host. Pure.

import type { CallItem, SpanEvent, TraceSpan } from '../../api/types';

type RowKind = 'run' | 'attempt' | 'span' | 'child' | 'call';

interface Segment {
  /** Milliseconds since 1970. */
  from: number;
  to: number;
  kind: 'queued' | 'waiting' | 'active' | 'http';
}

/** A span or a call with what lies in it. */
interface Node {
  id: string;
  kind: RowKind;
  label: string;
  from: number;
  to: number;
  of: { span: TraceSpan } | { call: CallItem };
  children: Node[];
}

export interface Row extends Omit<Node, 'children'> {
  level: number;
  segments: Segment[];
  children: number;
}

export interface Waterfall {
  rows: Row[];
  from: number;
  /** Milliseconds, never zero. */
  length: number;
  /** Whether the server left something out. */
  isCut: boolean;
}

interface State {
  at: number;
  status: string;
}

/** `folded` has the ids of rows whose children are left out. Calls without a time are left out, too. */
export function waterfall(root: TraceSpan, calls: readonly CallItem[], folded: ReadonlySet<string>): Waterfall {
  const states = statesOf(root);
  const tree = nodeOf(root, root, 0);
  for (const call of calls) addCall(tree, root.runId, call);
  const rows: Row[] = [];
  const add = ({ children, ...node }: Node, level: number) => {
    rows.push({ ...node, level, segments: segmentsOf(node, states), children: children.length });
    if (!folded.has(node.id)) children.forEach((child) => add(child, level + 1));
  };
  add(tree, 0);
  const from = Math.min(...rows.map((row) => row.from));
  const to = Math.max(...rows.map((row) => row.to));
  const properties = root.data.properties as { isTruncated?: boolean } | undefined;
  return { rows, from, length: Math.max(to - from, 0.001), isCut: properties?.isTruncated === true };
}

function nodeOf(span: TraceSpan, root: TraceSpan, level: number): Node {
  const from = Date.parse(span.data.startTime);
  return {
    id: span.id,
    kind: kindOf(span, root, level),
    label: span.data.message,
    from,
    to: from + span.data.duration / 1e6,
    of: { span },
    children: span.children.map((child) => nodeOf(child, root, level + 1)),
  };
}

function kindOf(span: TraceSpan, root: TraceSpan, level: number): RowKind {
  if (span === root) return 'run';
  if (span.runId !== root.runId) return 'child';
  return level === 1 && /^Attempt \d+$/.test(span.data.message) && span.data.properties === undefined ? 'attempt' : 'span';
}

/** Puts a call into the innermost span of the run that was open when it began. */
function addCall(tree: Node, runId: string, call: CallItem): void {
  if (call.at === undefined) return;
  const from = Date.parse(call.at);
  let place = tree;
  for (;;) {
    const inner = place.children.find((node) => {
      if (node.kind === 'attempt' && node.label !== `Attempt ${call.attempt}`) return false;
      return 'span' in node.of && node.of.span.runId === runId && node.from <= from && from <= node.to;
    });
    if (!inner) break;
    place = inner;
  }
  // What a call has made comes after it, even in the same millisecond.
  const after = place.children.findIndex((node) => node.from > from || (node.kind === 'child' && node.from >= from));
  place.children.splice(after < 0 ? place.children.length : after, 0, {
    id: `call ${call.seq}`,
    kind: 'call',
    label: callName(call),
    from,
    to: from + (call.durationMs ?? 0),
    of: { call },
    children: [],
  });
}

/** `GET https://a.b/c`, `trigger mail`, `wait for 2`. */
export function callName({ kind, target }: CallItem): string {
  if (kind === 'http') return target;
  return kind === 'wait' ? `wait for ${target}` : `${kind} ${target}`;
}

function statesOf(root: TraceSpan): State[] {
  return (root.data.events ?? [])
    .filter((event) => event.name === 'status')
    .map((event) => ({ at: Date.parse(event.time), status: String((event.properties as { status?: unknown }).status) }));
}

function segmentsOf({ kind, from, to, of }: Omit<Node, 'children'>, states: State[]): Segment[] {
  if (kind === 'run' || kind === 'attempt') return statesBetween(states, from, to, kind);
  if (!('call' in of)) return [{ from, to, kind: 'active' }];
  return [{ from, to, kind: of.call.kind === 'http' ? 'http' : of.call.kind === 'wait' ? 'waiting' : 'active' }];
}

/** What the run was in during a span: of an attempt, only its waits stand out. */
function statesBetween(states: State[], from: number, to: number, kind: RowKind): Segment[] {
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

/** Events of a row that are worth a mark. */
export function marks({ of }: Row): SpanEvent[] {
  return 'span' in of ? (of.span.data.events ?? []).filter((event) => event.name === 'exception') : [];
}
