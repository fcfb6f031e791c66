// The noise rules of an environment: what comparisons overlook, by task. They are kept in the
// browser and sent with every replay in the sandbox and every backtest.

import { signal } from '@preact/signals';
import { parseJson } from '../api/exact';
import type { TaskReplayRules } from '../api/types';
import { environment } from './session';
import { recall, remember } from './storage';

export type Rules = Record<string, TaskReplayRules>;

const name = () => `rules.${environment.value?.slug ?? ''}`;
const changes = signal(0);

/** The stored rules of all tasks. */
export function storedRules(): Rules {
  void changes.value;
  try {
    return parseJson(recall(name()) ?? '{}') as Rules;
  } catch {
    return {};
  }
}

export function storeRules(task: string, rules: TaskReplayRules): void {
  const { [task]: _, ...others } = storedRules();
  const isEmpty = Object.keys(rules).length === 0;
  remember(name(), JSON.stringify(isEmpty ? others : { ...others, [task]: rules }));
  changes.value += 1;
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
