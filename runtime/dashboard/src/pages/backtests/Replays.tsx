// The runs of a backtest, each with its verdict and the first of its reasons; the rest on demand.

import { useState } from 'preact/hooks';
import { get } from '../../api/client';
import type { BacktestItem, BacktestReplay } from '../../api/types';
import { shortId } from '../../core/format';
import { useQuery } from '../../core/query';
import { query } from '../../core/router';
import { changeRules, withRule } from '../../core/rules';
import { environment, pathIn } from '../../core/session';
import { useShortcuts } from '../../core/shortcuts';
import { toast } from '../../core/toast';
import { Dialog } from '../../ui/Dialog';
import { Section } from '../../ui/Page';
import { pageQuery, Pager } from '../../ui/Pager';
import { Empty, Loaded } from '../../ui/states';
import { Table, type Column } from '../../ui/Table';
import { Verdict, verdictWord } from '../../ui/Verdict';
import { ComparisonView, endWord, type OnIgnore } from '../compare/ComparisonView';
import '../../styles/compare.css';

export function Replays({ item, verdict }: { item: BacktestItem; verdict: string | undefined }) {
  const [open, setOpen] = useState<BacktestReplay>();
  const slug = environment.value?.slug;
  const asked = { ...pageQuery(50), 'page[before]': undefined, verdict };
  const isPending = item.status === 'PENDING';
  const found = useQuery(
    slug && `${slug}/backtest/${item.id}/replays/${JSON.stringify(asked)}`,
    (signal) => get('/api/v1/backtests/{backtest}/replays', { path: { backtest: item.id }, query: asked, signal }),
    { every: () => (isPending ? 3_000 : undefined), keepsOld: query.value.get('after') === null },
  );
  const [at, setAt] = useState<BacktestReplay>();
  useShortcuts('List', { d: ['Show what differs', () => at && setOpen(at)] });
  const columns: Column<BacktestReplay>[] = [
    { title: 'Task', cell: (replay) => replay.taskIdentifier },
    { title: 'Verdict', cell: (replay) => <Verdict of={replay.verdict} /> },
    { title: 'Run', cell: (replay) => <code class="faint">{shortId(replay.runId)}</code> },
    { title: 'Why', cell: (replay) => <span class="faint">{reasonOf(replay)}</span>, isWide: true },
    {
      title: 'Actions',
      isTitleHidden: true,
      cell: (replay) => (
        <button type="button" class="quiet" onClick={() => setOpen(replay)}>
          Compare
        </button>
      ),
    },
  ];
  return (
    <Section title={verdict ? `Runs: ${verdictWord(verdict).toLowerCase()}` : 'Runs'}>
      <Loaded query={found}>
        {(page) =>
          page.data.length === 0 ? (
            <Empty title={isPending ? 'No run has been replayed yet' : 'No runs'}>
              {!isPending && <p>No run that had ended met its conditions. Trigger some, or choose other conditions.</p>}
            </Empty>
          ) : (
            <>
              <Table
                label="Runs of the backtest"
                columns={columns}
                rows={page.data}
                keyOf={(replay) => replay.runId}
                linkOf={(replay) => pathIn('runs', replay.runId)}
                keyboard="List"
                onFocusRow={setAt}
              />
              <Pager pagination={page.pagination} />
            </>
          )
        }
      </Loaded>
      {open && <ReplayDetails replay={open} onClose={() => setOpen(undefined)} />}
    </Section>
  );
}

function ReplayDetails({ replay, onClose }: { replay: BacktestReplay; onClose: () => void }) {
  const task = replay.taskIdentifier;
  const ignore: OnIgnore = (list, entry) => {
    changeRules(task, (own) => withRule(own, list, entry)).then(
      () => toast('The rule was saved. It counts when the backtest is run again.'),
      (error: Error) => toast(error.message, 'error'),
    );
  };
  return (
    <Dialog title={`${task} ${shortId(replay.runId)}`} onClose={onClose} wide>
      <div class="verdict-line">
        <Verdict of={replay.verdict} />
        <a href={pathIn('runs', replay.runId)}>Open the source run</a>
      </div>
      {replay.note && <p class="section">{replay.note}</p>}
      {replay.comparison && <ComparisonView comparison={replay.comparison} onIgnore={ignore} />}
    </Dialog>
  );
}

/** The first thing that differs, in a line. */
function reasonOf(replay: BacktestReplay): string {
  const { comparison } = replay;
  if (replay.note || !comparison) return replay.note ?? '';
  const { ends, output, effects, metadata, passedBudgets } = comparison;
  if (replay.verdict === 'same') return '';
  if (ends.then.kind !== ends.now.kind)
    return `${endWord(ends.then.kind)} then, ${endWord(ends.now.kind)} now. ${ends.now.message ?? ends.then.message ?? ''}`;
  const host = effects.newHosts.items[0];
  if (host) return `New host ${host}`;
  const budget = passedBudgets?.[0];
  if (budget) return budget;
  const change = output.items[0];
  if (change) return `${change.path}: ${change.before ?? 'nothing'} → ${change.after ?? 'nothing'}`;
  const [added, removed, changed] = [effects.added.items[0], effects.removed.items[0], effects.changed.items[0]];
  if (added) return `Added: ${added.kind} ${added.target}`;
  if (removed) return `Removed: ${removed.kind} ${removed.target}`;
  if (changed) return `Changed: ${changed.kind} ${changed.target}`;
  const other = metadata.items[0];
  return other ? `Metadata ${other.path}` : '';
}
