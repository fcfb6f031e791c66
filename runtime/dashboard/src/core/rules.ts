// The noise rules of an environment: what comparisons overlook, by task (`*`: of every task). The
// server keeps them and counts them in every replay in the sandbox, backtest, gate and comparison.

import { get, put } from '../api/client';
import { formatJson } from '../api/exact';
import type { TaskReplayRules } from '../api/types';
import { renew, useQuery, type Query } from './query';
import { environment } from './session';

export type Rules = Record<string, TaskReplayRules>;

/** The rules, and when they were last changed. */
export interface StoredRules {
  rules: Rules;
  updatedAt?: string | undefined;
}

export function useRules(): Query<StoredRules> {
  const slug = environment.value?.slug;
  return useQuery(slug && `${slug}/rules`, (signal) => readRules(signal));
}

async function readRules(signal?: AbortSignal): Promise<StoredRules> {
  const answer = await get('/api/v1/replay-rules', signal ? { signal } : {});
  return { rules: answer.rules as Rules, updatedAt: answer.updatedAt };
}

/** Replaces the rules of a task by what `change` makes of those that the server has now. */
export async function changeRules(task: string, change: (rules: TaskReplayRules) => TaskReplayRules): Promise<void> {
  const { [task]: own = {}, ...others } = (await readRules()).rules;
  const changed = change(own);
  const rules = Object.keys(changed).length === 0 ? others : { ...others, [task]: changed };
  await put('/api/v1/replay-rules', { bodyText: formatJson({ rules }, 0) });
  renew('/rules');
}

/** One more entry of a list of rules. */
export function withRule(
  rules: TaskReplayRules,
  list: 'ignore-output' | 'ignore-metadata' | 'ignore-effects',
  entry: string,
): TaskReplayRules {
  const entries = rules[list] ?? [];
  return entries.includes(entry) ? rules : { ...rules, [list]: [...entries, entry] };
}
