// What a run or a replay ended with, as text for a side of a comparison. Pure.

import { formatJson } from '../../api/exact';
import type { ReplayEnd, RunDetails } from '../../api/types';

export function textOf(value: unknown): string {
  return value === undefined || value === null ? '' : formatJson(value);
}

/** Its error, or else its output. */
export function endOf({ error, output }: Pick<RunDetails | ReplayEnd, 'error' | 'output'>): string {
  if (error) return formatJson(error);
  return output === undefined ? '' : formatJson(output);
}
