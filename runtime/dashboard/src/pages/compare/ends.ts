// What a run or a replay ended with, as text for a side of a comparison. Pure.

import { formatJson } from '../../api/exact';
import type { ReplayEnd } from '../../api/types';

export function textOf(value: unknown): string {
  return value === undefined || value === null ? '' : formatJson(value);
}

/** Its error, or else its output. Stack traces are left out: they differ with every build. */
export function endOf({ error, output }: Pick<ReplayEnd, 'error' | 'output'>): string {
  if (error) return formatJson({ ...error, stackTrace: undefined });
  return output === undefined ? '' : formatJson(output);
}
