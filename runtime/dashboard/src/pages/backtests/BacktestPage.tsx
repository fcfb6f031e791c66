// One backtest: how far it is, what came of it, and every run in it with its reasons.

import { useState } from 'preact/hooks';
import { get, post } from '../../api/client';
import { formatJson } from '../../api/exact';
import type { BacktestItem } from '../../api/types';
import { useAction } from '../../core/action';
import { count, counted, day } from '../../core/format';
import { useDeployments } from '../../core/known';
import { renew, useQuery } from '../../core/query';
import { navigate, query, setQuery } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { useShortcuts } from '../../core/shortcuts';
import { Confirm } from '../../ui/Dialog';
import { Id } from '../../ui/Copy';
import { Icon } from '../../ui/Icon';
import { Menu } from '../../ui/Menu';
import { Facts, Page, Section } from '../../ui/Page';
import { Loaded } from '../../ui/states';
import { Elapsed, Time } from '../../ui/Time';
import { VerdictBar } from '../../ui/Verdict';
import { PastGate } from '../deployments/PastGate';
import { BacktestState, Gate } from './BacktestsPage';
import { findingOf, knownRuns } from './clean';
import { Replays } from './Replays';
import { saveReport } from './report';
import '../../styles/verdicts.css';

const EVERY_MS = 1_500;

export function BacktestPage({ id }: { id: string }) {
  const slug = environment.value?.slug;
  const found = useQuery(
    slug && `${slug}/backtest/${id}`,
    (signal) => get('/api/v1/backtests/{backtest}', { path: { backtest: id }, signal }),
    {
      every: (item) => (item.status === 'PENDING' ? EVERY_MS : undefined),
    },
  );
  return (
    <Page
      title={found.data ? `Version ${found.data.version}` : 'Backtest'}
      tab="Backtest"
      up={[pathIn('backtests'), 'Backtests']}
      beside={
        found.data && (
          <>
            <BacktestState of={found.data} />
            <Id id={id} />
          </>
        )
      }
      actions={found.data && <BacktestActions item={found.data} onChange={found.reload} />}
    >
      <Loaded query={found}>{(item) => <Parts item={item} />}</Loaded>
    </Page>
  );
}

function Parts({ item }: { item: BacktestItem }) {
  const verdict = query.value.get('verdict') ?? undefined;
  const left = item.status === 'PENDING' ? Math.max(0, item.planned - item.done) : 0;
  return (
    <>
      {item.reason && <p class="failure">{item.reason}</p>}
      {item.untested && item.untested.length > 0 && (
        <p class="failure">
          Nothing is known of these tasks, because none of their runs could be replayed: {item.untested.join(', ')}.
        </p>
      )}
      <div class="panel stack">
        <p>
          <b>{counted(item.done, 'run')}</b> {item.status === 'COMPLETED' ? '' : `of at most ${count(item.planned)} `}replayed,{' '}
          {differenceWords(item)}.
        </p>
        <VerdictBar
          counts={item.verdicts}
          left={left}
          chosen={verdict}
          onChoose={(to) => setQuery({ verdict: to, after: undefined }, true)}
        />
      </div>
      <Section title="Details">
        <Facts
          items={[
            ['Version', <a href={pathIn('deployments', item.version)}>{item.version}</a>],
            ['Against', item.against === 'recorded' ? 'what the runs did' : item.against],
            ...requestFacts(item),
            ['Gate', <Gate of={item} />],
            ['Started', <Time at={item.createdAt} />],
            ['Took', <Elapsed from={item.createdAt} to={item.completedAt ?? undefined} />],
          ]}
        />
      </Section>
      <Replays item={item} verdict={verdict} />
    </>
  );
}

function differenceWords(item: BacktestItem): string {
  if (item.differences > 0) return counted(item.differences, 'differs', 'differ');
  if (item.done === 0) return 'none differs';
  const known = knownRuns(item);
  if (known === 0) return 'and nothing is known of any: there is nothing to compare them with';
  return known < item.done ? `none of the ${count(known)} that can be compared differs` : 'none differs';
}

/** What was asked for. */
function requestFacts({ request, planned }: BacktestItem): (readonly [string, string])[] {
  if (!request) return [];
  const { mode, runIds, filter, sample } = request;
  const runs = runIds ? `${counted(runIds.length, 'run')} chosen by hand` : `the newest ${count(request.last ?? planned)}`;
  const conditions = Object.entries(filter ?? {}).map(([name, value]) => `${name} ${conditionWord(name, value)}`);
  return [
    ['Mode', mode ?? 'sandbox'],
    ['Runs', [runs, sample ? `a sample of ${count(sample)}` : '', ...conditions].filter(Boolean).join(', ')],
  ];
}

function conditionWord(name: string, value: unknown): string {
  if (name === 'from' || name === 'to') return day(Date.parse(String(value)));
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value.join(' or ');
  return typeof value === 'string' ? value : formatJson(value, 0);
}

function BacktestActions({ item, onChange }: { item: BacktestItem; onChange: () => void }) {
  const [asks, setAsks] = useState<'abort' | 'promote'>();
  const deployment = useDeployments()?.find((known) => known.version === item.version);
  const isCurrent = deployment?.isCurrent ?? false;
  const isClean = item.status === 'COMPLETED' && findingOf(item) === 'clean';
  const again = useAction(async () => {
    const made = await post('/api/v1/backtests', { bodyText: formatJson(item.request, 0) });
    navigate(pathIn('backtests', made.id));
    return 'The backtest was started again.';
  });
  useShortcuts('Backtest', {
    p: ['Promote the version', () => isClean && !isCurrent && setAsks('promote')],
    r: ['Run again', () => item.status !== 'PENDING' && item.request && void again.run()],
    c: ['Abort', () => item.status === 'PENDING' && setAsks('abort')],
  });
  const save = useAction(async (format: 'json' | 'junit' | 'html') => saveReport(item.id, format));
  const abort = async () => {
    await post('/api/v1/backtests/{backtest}/abort', { path: { backtest: item.id } });
    onChange();
    return 'The backtest was aborted.';
  };
  const promote = async () => {
    await post('/api/v1/deployments/{deployment}/promote', { path: { deployment: item.version } });
    renew('/deployment');
    return `Version ${item.version} is current.`;
  };
  return (
    <>
      {isClean && !isCurrent && (
        <button type="button" class="primary" onClick={() => setAsks('promote')}>
          <Icon name="check" />
          Promote this version
        </button>
      )}
      {item.status === 'PENDING' ? (
        <button type="button" onClick={() => setAsks('abort')}>
          <Icon name="cancel" />
          Abort
        </button>
      ) : (
        <button
          type="button"
          disabled={again.isBusy || item.request === undefined}
          onClick={() => void again.run()}
          title="With the noise rules of now"
        >
          <Icon name="replay" />
          Run again
        </button>
      )}
      <Menu
        label="Save the report"
        items={[
          { label: 'Report as HTML', run: () => void save.run('html') },
          { label: 'Report as JUnit XML', run: () => void save.run('junit') },
          { label: 'Report as JSON', run: () => void save.run('json') },
        ]}
      >
        Report
        <Icon name="down" />
      </Menu>
      {asks === 'abort' && (
        <Confirm title="Abort this backtest?" verb="Abort" isDangerous run={abort} onClose={() => setAsks(undefined)}>
          <p class="faint">What it has found so far stays.</p>
        </Confirm>
      )}
      {asks === 'promote' && (
        <Confirm
          title={`Make ${item.version} current?`}
          verb="Promote"
          isGuarded
          run={promote}
          onClose={() => setAsks(undefined)}
        >
          <p>
            New runs of its tasks in <b>{environment.value?.slug}</b> execute on it from then on.
          </p>
          {!deployment?.deployedAt && <PastGate />}
        </Confirm>
      )}
    </>
  );
}
