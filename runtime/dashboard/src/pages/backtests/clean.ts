// What a finished backtest comes to. Pure. Runs that could not be replayed speak for nothing.

import type { BacktestItem } from '../../api/types';

export type Finding = 'clean' | 'differs' | 'unknown';

/** Runs of which something is known. */
export function knownRuns({ done, verdicts }: BacktestItem): number {
  return done - (verdicts['not-replayable'] ?? 0);
}

/** Of one that is completed. */
export function findingOf(item: BacktestItem): Finding {
  if (item.differences > 0) return 'differs';
  const isClean = item.isClean ?? (knownRuns(item) > 0 && !item.untested?.length);
  return isClean ? 'clean' : 'unknown';
}
