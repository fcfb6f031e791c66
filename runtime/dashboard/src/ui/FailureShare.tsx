// How many of a task's runs failed, and what share that is.

import type { TaskStatistics } from '../api/types';
import { count, percent } from '../core/format';

export function FailureShare({ of }: { of: TaskStatistics | undefined }) {
  if (!of || of.failed === 0) return <span class="faint">0</span>;
  return (
    <span class="wrong">
      {count(of.failed)} ({percent(of.failed / (of.completed + of.failed + of.dropped))})
    </span>
  );
}
