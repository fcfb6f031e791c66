// All backtests of the environment, newest first.

import { useState } from 'preact/hooks';
import { get } from '../../api/client';
import type { BacktestItem } from '../../api/types';
import { count } from '../../core/format';
import { useQuery } from '../../core/query';
import { address } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { useShortcuts } from '../../core/shortcuts';
import { Icon } from '../../ui/Icon';
import { Page } from '../../ui/Page';
import { pageQuery, Pager } from '../../ui/Pager';
import { Empty, Loaded } from '../../ui/states';
import { Badge, SHAPES } from '../../ui/Status';
import { Table, type Column } from '../../ui/Table';
import { Elapsed, Time } from '../../ui/Time';
import { VerdictStrip } from '../../ui/Verdict';
import { BacktestDialog } from './BacktestDialog';
import { findingOf, type Finding } from './clean';
import '../../styles/verdicts.css';

const EVERY_MS = 3_000;

export function BacktestsPage() {
  const [isNew, setNew] = useState(false);
  const found = useQuery(
    `${environment.value?.slug}${address.value}`,
    (signal) => get('/api/v1/backtests', { query: pageQuery(50), signal }),
    {
      every: (page) => (page.data.some((item) => item.status === 'PENDING') ? EVERY_MS : EVERY_MS * 5),
    },
  );
  useShortcuts('List', { b: ['New backtest', () => setNew(true)] });
  return (
    <Page
      title="Backtests"
      actions={
        <button type="button" class="primary" onClick={() => setNew(true)}>
          <Icon name="plus" />
          New backtest
        </button>
      }
    >
      <Loaded query={found}>{(page) => (page.data.length === 0 ? <None /> : <List items={page.data} />)}</Loaded>
      {found.data && <Pager pagination={found.data.pagination} />}
      {isNew && <BacktestDialog onClose={() => setNew(false)} />}
    </Page>
  );
}

function None() {
  return (
    <Empty title="No backtests yet">
      <p>
        Deploy a version without making it current, then try it here on the inputs of old runs: nothing leaves the server, and you
        see what it would have done differently.
      </p>
      <pre>dacapo deploy task.wasm --skip-promotion</pre>
    </Empty>
  );
}

const COLUMNS: Column<BacktestItem>[] = [
  { title: 'Version', cell: (item) => item.version },
  { title: 'Status', cell: (item) => <BacktestState of={item} /> },
  { title: 'Against', cell: (item) => (item.against === 'recorded' ? 'what happened' : item.against), isNamed: true },
  { title: 'Verdicts', cell: (item) => <VerdictStrip counts={item.verdicts} /> },
  {
    title: 'Replayed',
    cell: (item) => (item.status === 'COMPLETED' ? count(item.done) : `${count(item.done)} of ${count(item.planned)}`),
    isNumber: true,
  },
  { title: 'Different', cell: (item) => count(item.differences), isNumber: true },
  { title: 'Gate', cell: (item) => <Gate of={item} />, isWide: true, isNamed: true },
  { title: 'Started', cell: (item) => <Time at={item.createdAt} /> },
  { title: 'Took', cell: (item) => <Elapsed from={item.createdAt} to={item.completedAt ?? undefined} />, isNumber: true },
];

function List({ items }: { items: readonly BacktestItem[] }) {
  return (
    <Table
      label="Backtests"
      columns={COLUMNS}
      rows={items}
      keyOf={(item) => item.id}
      linkOf={(item) => pathIn('backtests', item.id)}
      keyboard="List"
    />
  );
}

export function BacktestState({ of }: { of: BacktestItem }) {
  switch (of.status) {
    case 'PENDING':
      return <Badge tone="active" word="Replaying" shape={SHAPES.on} />;
    case 'ABORTED':
      return <Badge tone="idle" word="Aborted" shape={SHAPES.stopped} />;
    case 'FAILED':
      return <Badge tone="bad" word="Failed" shape={SHAPES.failed} />;
    case 'COMPLETED':
      return <FindingBadge of={findingOf(of)} />;
  }
}

function FindingBadge({ of }: { of: Finding }) {
  switch (of) {
    case 'clean':
      return <Badge tone="good" word="Clean" shape={SHAPES.done} />;
    case 'differs':
      return <Badge tone="waiting" word="Differs" shape={SHAPES.late} />;
    case 'unknown':
      return <Badge tone="idle" word="Too little known" shape={SHAPES.stopped} />;
  }
}

export function Gate({ of }: { of: BacktestItem }) {
  if (!of.gate) return <span class="faint">none</span>;
  if (of.isOpen === undefined || of.isOpen === null) return <>promotes at {count(of.gate.allow)} differences at most</>;
  return of.isOpen ? <>open: the version was promoted</> : <>closed: not promoted</>;
}
