// Which page an address means. Pages are loaded when they are first visited.

import type { ComponentChildren } from 'preact';
import { lazy } from './core/lazy';
import { pathIn } from './core/session';
import { RunsPage } from './pages/runs/RunsPage';
import { Page } from './ui/Page';
import { Empty } from './ui/states';

const loadRunPage = () => import('./pages/run/RunPage');
const RunPage = lazy(async () => (await loadRunPage()).RunPage);
const ComparePage = lazy(async () => (await import('./pages/compare/ComparePage')).ComparePage);
const BacktestsPage = lazy(async () => (await import('./pages/backtests/BacktestsPage')).BacktestsPage);
const BacktestPage = lazy(async () => (await import('./pages/backtests/BacktestPage')).BacktestPage);
const BulkListPage = lazy(async () => (await import('./pages/bulk/BulkPages')).BulkListPage);
const BulkPage = lazy(async () => (await import('./pages/bulk/BulkPages')).BulkPage);
const DeploymentsPage = lazy(async () => (await import('./pages/deployments/DeploymentsPage')).DeploymentsPage);
const DeploymentPage = lazy(async () => (await import('./pages/deployments/DeploymentPage')).DeploymentPage);
const TasksPage = lazy(async () => (await import('./pages/tasks/TasksPage')).TasksPage);
const TaskPage = lazy(async () => (await import('./pages/tasks/TaskPage')).TaskPage);
const QueuesPage = lazy(async () => (await import('./pages/queues/QueuesPage')).QueuesPage);
const SchedulesPage = lazy(async () => (await import('./pages/schedules/SchedulesPage')).SchedulesPage);
const BatchesPage = lazy(async () => (await import('./pages/batches/BatchPages')).BatchesPage);
const BatchPage = lazy(async () => (await import('./pages/batches/BatchPages')).BatchPage);
const TokensPage = lazy(async () => (await import('./pages/tokens/TokenPages')).TokensPage);
const TokenPage = lazy(async () => (await import('./pages/tokens/TokenPages')).TokenPage);
const EnvironmentsPage = lazy(async () => (await import('./pages/environments/EnvironmentsPage')).EnvironmentsPage);
const VariablesPage = lazy(async () => (await import('./pages/variables/VariablesPage')).VariablesPage);
const OverviewPage = lazy(async () => (await import('./pages/overview/OverviewPage')).OverviewPage);
const ErrorsPage = lazy(async () => (await import('./pages/errors/ErrorsPage')).ErrorsPage);

type Route = (rest: string[]) => ComponentChildren | undefined;

/** Pages by the first segment after the environment; each is told the segments after that. */
const ROUTES: Record<string, Route> = {
  '': () => <OverviewPage />,
  errors: ([more]) => (more === undefined ? <ErrorsPage /> : undefined),
  runs: ([id, ...more]) => {
    if (id === undefined) return <RunsPage />;
    if (more.length === 0) return <RunPage key={id} id={id} />;
    const [word, replay] = more;
    return word === 'replays' && replay ? <ComparePage key={id + replay} id={id} replay={replay} /> : undefined;
  },
  backtests: ([id]) => (id === undefined ? <BacktestsPage /> : <BacktestPage key={id} id={id} />),
  bulk: ([id]) => (id === undefined ? <BulkListPage /> : <BulkPage key={id} id={id} />),
  deployments: ([version]) => (version === undefined ? <DeploymentsPage /> : <DeploymentPage key={version} version={version} />),
  tasks: ([id]) => (id === undefined ? <TasksPage /> : <TaskPage key={id} id={id} />),
  queues: ([more]) => (more === undefined ? <QueuesPage /> : undefined),
  schedules: ([more]) => (more === undefined ? <SchedulesPage /> : undefined),
  batches: ([id]) => (id === undefined ? <BatchesPage /> : <BatchPage key={id} id={id} />),
  tokens: ([id]) => (id === undefined ? <TokensPage /> : <TokenPage key={id} id={id} />),
  environments: ([more]) => (more === undefined ? <EnvironmentsPage /> : undefined),
  variables: ([more]) => (more === undefined ? <VariablesPage /> : undefined),
};

export function pageAt([page = '', ...rest]: string[]): ComponentChildren {
  return (
    ROUTES[page]?.(rest) ?? (
      <Page title="Not found">
        <Empty title="There is no such page">
          <p>
            Go to the <a href={pathIn('runs')}>runs</a>, or press <kbd>?</kbd> for what the keyboard can do.
          </p>
        </Empty>
      </Page>
    )
  );
}

/** Loads what is opened most when the first page has been drawn, so that it is there at once. */
setTimeout(() => void loadRunPage().catch(() => undefined), 2_000);
