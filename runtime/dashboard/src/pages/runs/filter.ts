// The conditions of a list of runs: as they stand in the address, as the list's query, and as the
// filter of bulk actions and backtests. Pure. The names are the API's own.

import type { BulkFilter, RunStatus } from '../../api/types';

/** A condition with values that are separated by commas in the address. */
export interface FilterField {
  name: string;
  /** What it is called, and typed before the colon. */
  label: string;
  /** Whether a run may meet any of several values. */
  isList: boolean;
  hint: string;
}

export const FIELDS: readonly FilterField[] = [
  { name: 'status', label: 'status', isList: true, hint: 'Where runs are in their lives' },
  { name: 'taskIdentifier', label: 'task', isList: true, hint: 'What they run' },
  { name: 'tag', label: 'tag', isList: true, hint: 'A label they carry' },
  { name: 'version', label: 'version', isList: true, hint: 'The deployment they ran on' },
  { name: 'queue', label: 'queue', isList: true, hint: 'Where they queued' },
  { name: 'machine', label: 'machine', isList: true, hint: 'The preset they asked for' },
  { name: 'isTest', label: 'test', isList: false, hint: 'Triggered as a test, or not' },
  { name: 'isReplay', label: 'replay', isList: false, hint: 'Made by a replay, or not' },
  { name: 'replayedFrom', label: 'replay of', isList: false, hint: 'The replays of a run, by its id' },
  { name: 'bulkAction', label: 'bulk', isList: false, hint: 'What a bulk action made' },
  { name: 'batch', label: 'batch', isList: false, hint: 'The items of a batch' },
  { name: 'schedule', label: 'schedule', isList: false, hint: 'What a schedule fired' },
  { name: 'error', label: 'error', isList: true, hint: 'A group of errors, by its fingerprint' },
];

/** Conditions that hold or do not. */
export const isFlag = (name: string) => name === 'isTest' || name === 'isReplay';

/** Conditions by name; `from`, `to` and `period` are the time. */
export type Filter = Readonly<Record<string, string>>;

const TIMES = ['from', 'to', 'period'];

/** The conditions that stand in a query; what is no condition is left out. */
export function filterOf(query: URLSearchParams): Filter {
  const filter: Record<string, string> = {};
  for (const name of [...FIELDS.map((field) => field.name), ...TIMES]) {
    const value = query.get(name);
    if (value) filter[name] = value;
  }
  return filter;
}

export function valuesOf(filter: Filter, name: string): string[] {
  return (filter[name] ?? '').split(',').filter(Boolean);
}

/** What a condition becomes with one more value. */
export function withValue(filter: Filter, field: FilterField, value: string): string {
  const values = valuesOf(filter, field.name);
  if (!field.isList) return value;
  return values.includes(value) ? values.join(',') : [...values, value].join(',');
}

/** The query of the list. */
export function listQuery(filter: Filter): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [name, value] of Object.entries(filter)) {
    query[TIMES.includes(name) ? `filter[createdAt][${name}]` : `filter[${name}]`] = value;
  }
  return query;
}

/** The same runs, for a bulk action. Without a time it is of all times, as the list is. */
export function bulkFilter(filter: Filter): BulkFilter {
  const list = (name: string) => (filter[name] ? { [name]: valuesOf(filter, name) } : {});
  const one = (name: string) => (filter[name] ? { [name]: filter[name] } : {});
  const flag = (name: string) => (filter[name] ? { [name]: filter[name] === 'true' } : {});
  const queues = valuesOf(filter, 'queue').map((name) =>
    name.startsWith('task/') ? { type: 'task' as const, name: name.slice(5) } : { type: 'custom' as const, name },
  );
  const hasTime = TIMES.some((name) => filter[name]);
  return {
    ...(filter.status ? { status: valuesOf(filter, 'status') as RunStatus[] } : {}),
    ...list('taskIdentifier'),
    ...list('tag'),
    ...list('version'),
    ...list('machine'),
    ...(queues.length > 0 ? { queue: queues } : {}),
    ...flag('isTest'),
    ...flag('isReplay'),
    ...one('replayedFrom'),
    ...one('bulkAction'),
    ...one('batch'),
    ...one('schedule'),
    ...list('error'),
    ...one('period'),
    ...instant('from', filter.from),
    ...instant('to', filter.to),
    ...(hasTime ? {} : { from: new Date(0).toISOString() }),
  };
}

function instant(name: string, value: string | undefined): Record<string, string> {
  if (!value) return {};
  const at = /^\d+$/.test(value) ? new Date(Number(value)) : new Date(value);
  return { [name]: Number.isNaN(at.getTime()) ? value : at.toISOString() };
}

/** The conditions in words, for names of bulk actions: `status FAILED, task send-mail`. */
export function describe(filter: Filter): string {
  const words = FIELDS.filter((field) => filter[field.name]).map((field) => `${field.label} ${filter[field.name]}`);
  if (filter.period) words.push(`of the last ${filter.period}`);
  return words.join(', ') || 'all runs';
}
