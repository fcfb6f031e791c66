// One run: what became of it and why, drawn as it went, renewed until it has ended.

import { useRef, useState } from 'preact/hooks';
import { get } from '../../api/client';
import { formatJson } from '../../api/exact';
import type { RunDetails } from '../../api/types';
import { lazy } from '../../core/lazy';
import { useQuery } from '../../core/query';
import { environment, pathIn } from '../../core/session';
import { useShortcuts } from '../../core/shortcuts';
import { toast } from '../../core/toast';
import { copyText, Id } from '../../ui/Copy';
import { Icon } from '../../ui/Icon';
import { Json } from '../../ui/Json';
import { Menu } from '../../ui/Menu';
import { Page, Section } from '../../ui/Page';
import { Loaded } from '../../ui/states';
import { Status } from '../../ui/Status';
import { CancelDialog } from '../runs/CancelDialog';
import { Marks } from '../runs/RunsTable';
import { asCommand, asCurl, asReplay, asSdk } from './commands';
import { Context } from './Context';
import { Logs } from './Logs';
import { Outcome } from './Outcome';
import { Side } from './Side';
import { Trace } from './Trace';
import '../../styles/run.css';
import '../../styles/trace.css';

const ReplayDialog = lazy(async () => (await import('../replay/ReplayDialog')).ReplayDialog, null);
const BacktestDialog = lazy(async () => (await import('../backtests/BacktestDialog')).BacktestDialog, null);

/** While the run goes on; a waiting one changes less. */
const EVERY_MS = 1_000;
const WAITING_EVERY_MS = 3_000;
/** How many times as long as the last answer took: a payload of megabytes comes with each. */
const REST = 20;

function restMs(run: RunDetails, tookMs: number): number {
  return Math.max(run.isExecuting ? EVERY_MS : WAITING_EVERY_MS, tookMs * REST);
}

export function RunPage({ id }: { id: string }) {
  const slug = environment.value?.slug;
  const tookMs = useRef(0);
  const found = useQuery(
    slug && `${slug}/run/${id}`,
    async (signal) => {
      const asked = performance.now();
      const run = await get('/api/v3/runs/{run}', { path: { run: id }, signal });
      tookMs.current = performance.now() - asked;
      return run;
    },
    { every: (run) => (run.isCompleted ? undefined : restMs(run, tookMs.current)) },
  );
  const run = found.data;
  return (
    <Page
      title={run?.taskIdentifier ?? 'Run'}
      tab={run ? `${run.taskIdentifier} ${run.status.toLowerCase()}` : 'Run'}
      up={[pathIn('runs'), 'Runs']}
      beside={
        run && (
          <>
            <Status of={run.status} />
            <Id id={id} />
            <Marks run={run} />
          </>
        )
      }
      actions={run && <RunActions run={run} onChange={found.reload} />}
    >
      <Loaded query={found}>{(loaded) => <RunParts run={loaded} />}</Loaded>
    </Page>
  );
}

function RunParts({ run }: { run: RunDetails }) {
  const hasMetadata = run.metadata !== undefined && run.metadata !== null;
  return (
    <div class="run">
      <div class="run-main">
        <Outcome run={run} />
        <Trace run={run} />
        <Section title="Payload">
          {run.payload === undefined ? (
            <p class="faint">It was triggered without a payload.</p>
          ) : (
            <Json value={run.payload} label="the payload" />
          )}
        </Section>
        {hasMetadata && (
          <Section title="Metadata">
            <Json value={run.metadata} label="the metadata" />
          </Section>
        )}
        <Logs run={run} />
        <Context run={run} />
      </div>
      <Side run={run} />
    </div>
  );
}

type Open = 'replay' | 'cancel' | 'backtest' | undefined;

function RunActions({ run, onChange }: { run: RunDetails; onChange: () => void }) {
  const [open, setOpen] = useState<Open>();
  const close = () => setOpen(undefined);
  useShortcuts('Run', {
    r: ['Replay', () => setOpen('replay')],
    c: ['Cancel', () => !run.isCompleted && setOpen('cancel')],
    b: ['Backtest a version on this run', () => setOpen('backtest')],
    o: ['Open the raw JSON', () => openRaw(run)],
  });
  const copy = (text: string, what: string) => async () => {
    if (await copyText(text)) toast(`${what} is on the clipboard.`);
  };
  return (
    <>
      <button type="button" class="primary" onClick={() => setOpen('replay')}>
        <Icon name="replay" />
        Replay
      </button>
      {!run.isCompleted && (
        <button type="button" onClick={() => setOpen('cancel')}>
          <Icon name="cancel" />
          Cancel
        </button>
      )}
      <Menu
        label="Copy and more"
        items={[
          { label: 'Copy as curl', run: copy(asCurl(run, window.location.origin), 'The curl command') },
          { label: 'Copy as command', run: copy(asCommand(run, environment.value?.slug ?? 'dev'), 'The command') },
          { label: 'Copy as SDK call', run: copy(asSdk(run), 'The call') },
          { label: 'Copy replay as command', run: copy(asReplay(run), 'The command') },
          { label: 'Backtest on this run …', run: () => setOpen('backtest') },
          { label: 'Open raw JSON', run: () => openRaw(run) },
        ]}
      >
        <Icon name="copy" />
        Copy as
        <Icon name="down" />
      </Menu>
      {open === 'replay' && <ReplayDialog id={run.id} onClose={close} />}
      {open === 'cancel' && <CancelDialog run={run} onClose={close} onDone={onChange} />}
      {open === 'backtest' && <BacktestDialog picked={{ runs: [run] }} onClose={close} />}
    </>
  );
}

/** In a tab of its own, as a file of plain JSON: the API wants a header that links cannot send. */
function openRaw(run: RunDetails): void {
  const file = new Blob([formatJson(run)], { type: 'application/json' });
  const url = URL.createObjectURL(file);
  window.open(url, '_blank', 'noopener');
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
