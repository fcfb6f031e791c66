// Which page an address means. Pages are loaded when they are first visited.

import type { ComponentChildren } from 'preact';
import { lazy } from './core/lazy';
import { pathIn } from './core/session';
import { RunsPage } from './pages/runs/RunsPage';
import { Empty } from './ui/states';

const RunPage = lazy(async () => (await import('./pages/run/RunPage')).RunPage);

type Route = (rest: string[]) => ComponentChildren | undefined;

/** Pages by the first segment after the environment; each is told the segments after that. */
const ROUTES: Record<string, Route> = {
  runs: ([id, ...more]) => {
    if (id === undefined) return <RunsPage />;
    return more.length === 0 ? <RunPage key={id} id={id} /> : undefined;
  },
};

export function pageAt([page = '', ...rest]: string[]): ComponentChildren {
  return (
    ROUTES[page]?.(rest) ?? (
      <Empty title="There is no such page">
        <p>
          Go to the <a href={pathIn('runs')}>runs</a>, or press <kbd>?</kbd> for what the keyboard can do.
        </p>
      </Empty>
    )
  );
}
