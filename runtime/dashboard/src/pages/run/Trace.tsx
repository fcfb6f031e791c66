// The trace of a run as a waterfall, drawn to scale: the run, its attempts, the spans in them, the
// runs it triggered. Waiting and queueing look different from work.

import { useMemo, useState } from 'preact/hooks';
import { get } from '../../api/client';
import type { RunDetails, TraceSpan } from '../../api/types';
import { counted, duration } from '../../core/format';
import { useQuery } from '../../core/query';
import { environment } from '../../core/session';
import { Icon } from '../../ui/Icon';
import { Section } from '../../ui/Page';
import { Failure, Loading } from '../../ui/states';
import { VirtualList } from '../../ui/VirtualList';
import { SpanDialog } from './SpanDialog';
import { marks, ticks, waterfall, type Row, type Waterfall } from './waterfall';

const ROW_PX = 24;
const MAX_HEIGHT_PX = 500;
const EVERY_MS = 2_000;
const TICKS = 5;

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
  return (
    <Section title="Trace" beside={<Legend />}>
      {found.error && <Failure text={found.error.message} retry={found.reload} />}
      {found.isLoading && <Loading rows={3} />}
      {found.data && <Chart root={found.data} />}
    </Section>
  );
}

function Legend() {
  return (
    <span class="legend faint">
      <i class="bar-active" /> at work
      <i class="bar-waiting" /> waiting
      <i class="bar-queued" /> queued
    </span>
  );
}

function Chart({ root }: { root: TraceSpan }) {
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const [open, setOpen] = useState<TraceSpan>();
  const drawn = useMemo(() => waterfall(root, folded), [root, folded]);
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
        keyOf={(row) => row.span.id}
        head={<Scale length={drawn.length} />}
        draw={(row) => (
          <Bar
            row={row}
            drawn={drawn}
            isFolded={folded.has(row.span.id)}
            onFold={() => fold(row.span.id)}
            onOpen={() => setOpen(row.span)}
          />
        )}
      />
      {drawn.isCut && <p class="faint">The log has more than a trace shows; what is drawn is its beginning.</p>}
      {open && <SpanDialog span={open} root={root} onClose={() => setOpen(undefined)} />}
    </>
  );
}

function Scale({ length }: { length: number }) {
  return (
    <div class="scale" aria-hidden="true">
      <span />
      <span>
        {ticks(length, TICKS).map((tick) => (
          <i key={tick} style={{ left: share(tick, length) }}>
            {tick === 0 ? '0' : duration(tick)}
          </i>
        ))}
      </span>
    </div>
  );
}

function share(part: number, whole: number): string {
  return `${((part / whole) * 100).toFixed(3)}%`;
}

interface BarProps {
  row: Row;
  drawn: Waterfall;
  isFolded: boolean;
  onFold: () => void;
  onOpen: () => void;
}

function Bar({ row, drawn, isFolded, onFold, onOpen }: BarProps) {
  const { span } = row;
  const took = duration(row.to - row.from);
  const end = span.data.isError ? ', failed' : span.data.isCancelled ? ', canceled' : span.data.isPartial ? ', not ended' : '';
  const at = (moment: number) => share(moment - drawn.from, drawn.length);
  return (
    <div class={`bar-row kind-${row.kind}${span.data.isError ? ' is-error' : ''}${span.data.isPartial ? ' is-open' : ''}`}>
      <span class="bar-name" style={{ paddingLeft: `${row.level * 14}px` }}>
        {row.hasChildren ? (
          <button
            type="button"
            class="quiet"
            aria-expanded={!isFolded}
            aria-label={`${isFolded ? 'Unfold' : 'Fold'} ${span.data.message}`}
            onClick={onFold}
          >
            <Icon name={isFolded ? 'right' : 'down'} />
          </button>
        ) : (
          <i class="no-fold" />
        )}
        <button type="button" class="bar-label" onClick={onOpen} aria-label={`${span.data.message}, ${took}${end}`}>
          {row.kind === 'child' && <Icon name="runs" />}
          {span.data.message}
          {isFolded && <small class="faint">{counted(span.children.length, 'child', 'children')}</small>}
        </button>
      </span>
      <span class="bar-track" onClick={onOpen}>
        {row.segments.map((segment) => (
          <i
            key={segment.from}
            class={`bar-${segment.kind}`}
            style={{ left: at(segment.from), width: `max(2px, ${share(segment.to - segment.from, drawn.length)})` }}
          />
        ))}
        {marks(span).map((event) => (
          <b key={event.time} style={{ left: at(Date.parse(event.time)) }} />
        ))}
        <small style={{ left: `calc(${at(row.to)} + 6px)` }}>{took}</small>
      </span>
    </div>
  );
}
