// The trace of a run as a waterfall, drawn to scale: the run, its attempts, the spans in them, the
// calls it made of the host, the runs it triggered. Waiting and queueing look different from work.

import { useMemo, useState } from 'preact/hooks';
import { get } from '../../api/client';
import type { CallItem, CallList, RunDetails, TraceSpan } from '../../api/types';
import { count, duration } from '../../core/format';
import { useQuery } from '../../core/query';
import { environment } from '../../core/session';
import { Section } from '../../ui/Page';
import { Failure, Loading } from '../../ui/states';
import { VirtualList } from '../../ui/VirtualList';
import { Bar, share } from './Bar';
import { CallDialog, CallsWithoutTime } from './Calls';
import { SpanDialog } from './SpanDialog';
import { ticks, waterfall, type Row } from './waterfall';

const ROW_PX = 24;
const MAX_HEIGHT_PX = 500;
const EVERY_MS = 2_000;
/** Marks on the scale, where there is room for them. */
const TICKS = 5;
const NARROW_TICKS = 2;
const isNarrow = window.matchMedia('(width < 800px)');

export function Trace({ run }: { run: RunDetails }) {
  const slug = environment.value?.slug;
  const key = slug && `${slug}/trace/${run.id}/${run.isCompleted ? run.updatedAt : 'live'}`;
  const found = useQuery(
    key,
    async (signal) => {
      const answer = await get('/api/v1/runs/{run}/trace', { path: { run: run.id }, signal });
      return 'trace' in answer ? answer.trace.rootSpan : undefined;
    },
    { every: () => (run.isCompleted ? undefined : EVERY_MS), keepsOld: true },
  );
  // What a run called is on record once it has ended.
  const recorded = useQuery(run.isCompleted && slug ? `${slug}/calls/${run.id}/${run.updatedAt}` : undefined, (signal) =>
    get('/api/v1/runs/{run}/calls', { path: { run: run.id }, signal }),
  );
  const calls = recorded.data?.calls ?? [];
  return (
    <Section title="Trace" beside={<Legend hasHttp={calls.some((call) => call.kind === 'http')} />}>
      {found.error && <Failure text={found.error.message} retry={found.reload} />}
      {found.isLoading && <Loading rows={3} />}
      {found.data && <Chart root={found.data} calls={calls} />}
      {recorded.error && <Failure text={`Its calls are not shown. ${recorded.error.message}`} retry={recorded.reload} />}
      {recorded.data?.note && <p class="faint trace-note">{recorded.data.note}</p>}
      <WhichCalls of={recorded.data} attempts={run.attemptCount} />
      <CallsWithoutTime calls={calls.filter((call) => call.at === undefined)} />
    </Section>
  );
}

/** What of its calls is not shown. */
function WhichCalls({ of, attempts }: { of: CallList | undefined; attempts: number }) {
  const last = of?.calls.at(-1);
  if (!of || !last) return null;
  return (
    <>
      {of.isCut && <p class="failure">It has made more calls than are shown: these are the first {count(of.calls.length)}.</p>}
      {attempts > 1 && <p class="faint trace-note">The calls are those of attempt {last.attempt}, its last.</p>}
    </>
  );
}

function Legend({ hasHttp }: { hasHttp: boolean }) {
  const looks = [['active', 'at work'], ['waiting', 'waiting'], ['queued', 'queued'], ...(hasHttp ? [['http', 'HTTP']] : [])];
  return (
    <span class="legend faint">
      {looks.map(([look, word]) => (
        <span key={look}>
          <i class={`bar-${look}`} /> {word}
        </span>
      ))}
    </span>
  );
}

function Chart({ root, calls }: { root: TraceSpan; calls: readonly CallItem[] }) {
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const [open, setOpen] = useState<Row['of']>();
  const drawn = useMemo(() => waterfall(root, calls, folded), [root, calls, folded]);
  const close = () => setOpen(undefined);
  const fold = (id: string) => {
    const next = new Set(folded);
    if (!next.delete(id)) next.add(id);
    setFolded(next);
  };
  return (
    <>
      <VirtualList
        label="Trace"
        rows={drawn.rows}
        rowHeight={ROW_PX}
        maxHeight={MAX_HEIGHT_PX}
        keyOf={(row) => row.id}
        head={<Scale length={drawn.length} />}
        draw={(row) => (
          <Bar row={row} drawn={drawn} isFolded={folded.has(row.id)} onFold={() => fold(row.id)} onOpen={() => setOpen(row.of)} />
        )}
      />
      {drawn.isCut && <p class="faint">The log has more than a trace shows; what is drawn is its beginning.</p>}
      {open && 'span' in open && <SpanDialog span={open.span} root={root} onClose={close} />}
      {open && 'call' in open && <CallDialog call={open.call} root={root} onClose={close} />}
    </>
  );
}

function Scale({ length }: { length: number }) {
  return (
    <div class="scale" aria-hidden="true">
      <span />
      <span>
        {ticks(length, isNarrow.matches ? NARROW_TICKS : TICKS).map((tick) => (
          <i key={tick} style={{ left: share(tick, length) }}>
            {tick === 0 ? '0' : duration(tick)}
          </i>
        ))}
      </span>
    </div>
  );
}
