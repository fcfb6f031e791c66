// One version: what it is, what it may reach, what it offers, and how that differs from another.

import { useState } from 'preact/hooks';
import { get, post } from '../../api/client';
import { formatJson } from '../../api/exact';
import type { DeploymentItem, TaskItem } from '../../api/types';
import { bytes, counted, duration } from '../../core/format';
import { useDeployments } from '../../core/known';
import { lazy } from '../../core/lazy';
import { renew, useQuery } from '../../core/query';
import { query, setQuery } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { useShortcuts } from '../../core/shortcuts';
import { Id } from '../../ui/Copy';
import { Confirm } from '../../ui/Dialog';
import { Diff } from '../../ui/Editor';
import { Icon } from '../../ui/Icon';
import { Facts, Page, Section } from '../../ui/Page';
import { Loaded } from '../../ui/states';
import { Table, type Column } from '../../ui/Table';
import { Time } from '../../ui/Time';
import { deployerWord, DeploymentState } from './DeploymentsPage';
import { PastGate } from './PastGate';

const BacktestDialog = lazy(async () => (await import('../backtests/BacktestDialog')).BacktestDialog, null);

function useDeployment(version: string | undefined) {
  const slug = environment.value?.slug;
  return useQuery(version && slug && `${slug}/deployment/${version}`, (signal) =>
    get('/api/v1/deployments/{deployment}', { path: { deployment: version ?? '' }, signal }),
  );
}

export function DeploymentPage({ version }: { version: string }) {
  const found = useDeployment(version);
  const [open, setOpen] = useState<'promote' | 'backtest'>();
  const item = found.data;
  useShortcuts('Version', {
    p: ['Make it current', () => item && !item.isCurrent && setOpen('promote')],
    b: ['Backtest it', () => setOpen('backtest')],
  });
  const promote = async () => {
    const done = await post('/api/v1/deployments/{deployment}/promote', { path: { deployment: version } });
    renew('/deployment');
    const released = done.releasedRuns > 0 ? ` ${counted(done.releasedRuns, 'run')} had waited for it.` : '';
    return `Version ${done.version} is current.${released}`;
  };
  return (
    <Page
      title={version}
      tab={`Version ${version}`}
      up={[pathIn('deployments'), 'Deployments']}
      beside={item && <DeploymentState of={item} />}
      actions={
        item && (
          <>
            <a class="button" href={`${pathIn('runs')}?version=${encodeURIComponent(version)}`}>
              <Icon name="runs" />
              Its runs
            </a>
            <button type="button" onClick={() => setOpen('backtest')}>
              <Icon name="backtests" />
              Backtest
            </button>
            {!item.isCurrent && (
              <button type="button" class="primary" onClick={() => setOpen('promote')}>
                {item.deployedAt ? 'Make it current again' : 'Promote'}
              </button>
            )}
          </>
        )
      }
    >
      <Loaded query={found}>{(deployment) => <Parts item={deployment} />}</Loaded>
      {open === 'backtest' && <BacktestDialog version={version} onClose={() => setOpen(undefined)} />}
      {open === 'promote' && (
        <Confirm title={`Make ${version} current?`} verb="Promote" isGuarded run={promote} onClose={() => setOpen(undefined)}>
          <p>
            New runs of its tasks in <b>{environment.value?.slug}</b> execute on it from then on. Runs that have started stay
            where they are.
          </p>
          {!item?.deployedAt && <PastGate />}
        </Confirm>
      )}
    </Page>
  );
}

function Parts({ item }: { item: DeploymentItem }) {
  const egress = environment.value?.egress ?? [];
  return (
    <>
      <Facts
        items={[
          ['Component', item.component],
          ['Digest', <Id id={item.digest} label="the digest" />],
          ['Size', bytes(item.sizeBytes)],
          ['Runtime', `${item.runtime ?? ''} ${item.runtimeVersion ?? ''}`],
          ...(item.externalId ? [['Your name for it', <code>{item.externalId}</code>] as const] : []),
          [
            'Uploaded',
            <>
              <Time at={item.createdAt} />
              {item.deployedBy && `, with ${deployerWord(item.deployedBy)}`}
            </>,
          ],
          ['Promoted', item.deployedAt ? <Time at={item.deployedAt} /> : 'never'],
          ...(item.pastPolicyAt ? [['Past the gate', <Time at={item.pastPolicyAt} />] as const] : []),
          [
            'May reach',
            <>
              {egress.length === 0
                ? 'no host'
                : egress.map((rule) => (
                    <code class="tag" key={rule}>
                      {rule}
                    </code>
                  ))}{' '}
              <a href={pathIn('environments')}>Egress rules of {environment.value?.slug}</a>
            </>,
          ],
        ]}
      />
      <Section title="Tasks">
        <Table
          label="Tasks"
          columns={TASK_COLUMNS}
          rows={item.tasks ?? []}
          keyOf={(task) => task.id}
          linkOf={(task) => pathIn('tasks', task.id)}
        />
      </Section>
      <Comparison item={item} />
      <Imports of={item.imports} />
    </>
  );
}

const TASK_COLUMNS: Column<TaskItem>[] = [
  { title: 'Task', cell: (task) => task.id },
  { title: 'Queue', cell: (task) => <span class="faint">{task.queue}</span> },
  { title: 'Attempts', cell: (task) => task.maxAttempts, isNumber: true },
  { title: 'CPU limit', cell: (task) => (task.maxDuration ? duration(task.maxDuration * 1_000) : 'default'), isNumber: true },
  { title: 'Machine', cell: (task) => task.machine },
  { title: 'Cron', cell: (task) => task.cron && <code>{`${task.cron} ${task.timezone ?? ''}`}</code> },
  { title: 'Description', cell: (task) => <span class="faint">{task.description}</span>, isWide: true },
];

/** The tasks of two versions of a component, side by side. */
function Comparison({ item }: { item: DeploymentItem }) {
  const others = (useDeployments() ?? []).filter((other) => other.component === item.component && other.version !== item.version);
  const chosen = query.value.get('against') ?? '';
  const other = useDeployment(chosen || undefined);
  if (others.length === 0) return null;
  const text = (of: DeploymentItem) => formatJson({ imports: of.imports, tasks: of.tasks });
  return (
    <Section
      title="Compared with"
      beside={
        <select
          aria-label="Another version"
          value={chosen}
          onChange={(event) => setQuery({ against: event.currentTarget.value }, true)}
        >
          <option value="">Choose a version …</option>
          {others.map((known) => (
            <option key={known.id} value={known.version}>
              {known.version}
              {known.isCurrent ? ', current' : ''}
            </option>
          ))}
        </select>
      }
    >
      {chosen === '' ? (
        <p class="faint">Shows what this version changes in tasks, options and imports.</p>
      ) : (
        <Loaded query={other}>
          {(before) =>
            text(before) === text(item) ? (
              <p class="faint">The same tasks with the same options, and the same imports.</p>
            ) : (
              <Diff label="Tasks" before={text(before)} after={text(item)} />
            )
          }
        </Loaded>
      )}
    </Section>
  );
}

/** What it imports, by package: what is not here it cannot do. */
function Imports({ of }: { of: readonly string[] }) {
  const groups = Map.groupBy(of, (name) => name.split('/')[0] ?? name);
  return (
    <Section title="Imports">
      {of.length === 0 && <p class="faint">None: it only computes.</p>}
      <ul class="imports">
        {[...groups].map(([name, items]) => (
          <li key={name}>
            <b>{name}</b>
            <span>
              {items.map((item) => (
                <code key={item} class={/^wasi:(http|sockets)/.test(item) ? 'reaching' : undefined}>
                  {item.slice(name.length + 1) || item}
                </code>
              ))}
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}
