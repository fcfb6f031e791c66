// The pages of an environment, as the sidebar and the keyboard offer them.

import type { IconName } from '../ui/Icon';

interface PageEntry {
  /** The segment after the environment; the overview has none. */
  path: string;
  label: string;
  icon: IconName;
  /** Pressed after `g`. */
  key: string;
}

export const GROUPS: readonly (readonly [title: string, pages: readonly PageEntry[]])[] = [
  [
    'Runs',
    [
      { path: '', label: 'Overview', icon: 'overview', key: 'o' },
      { path: 'runs', label: 'Runs', icon: 'runs', key: 'r' },
      { path: 'errors', label: 'Errors', icon: 'errors', key: 'e' },
      { path: 'backtests', label: 'Backtests', icon: 'backtests', key: 'b' },
      { path: 'bulk', label: 'Bulk actions', icon: 'bulk', key: 'u' },
      { path: 'batches', label: 'Batches', icon: 'batches', key: 'a' },
    ],
  ],
  [
    'Code',
    [
      { path: 'tasks', label: 'Tasks', icon: 'tasks', key: 't' },
      { path: 'deployments', label: 'Deployments', icon: 'deployments', key: 'd' },
      { path: 'queues', label: 'Queues', icon: 'queues', key: 'q' },
      { path: 'schedules', label: 'Schedules', icon: 'schedules', key: 's' },
      { path: 'tokens', label: 'Wait tokens', icon: 'tokens', key: 'w' },
    ],
  ],
  [
    'Settings',
    [
      { path: 'environments', label: 'Environments', icon: 'environments', key: 'n' },
      { path: 'variables', label: 'Variables', icon: 'variables', key: 'v' },
    ],
  ],
];

export const PAGES: readonly PageEntry[] = GROUPS.flatMap(([, pages]) => pages);
