// What a run has logged: line by line, live while it goes on, as many as ten thousand.

import { useEffect, useMemo, useState } from 'preact/hooks';
import { ApiFailure, get } from '../../api/client';
import { formatJson } from '../../api/exact';
import type { LogItem, RunDetails } from '../../api/types';
import { counted, timeOfDay } from '../../core/format';
import { Copy } from '../../ui/Copy';
import { Dialog } from '../../ui/Dialog';
import { Json } from '../../ui/Json';
import { Section } from '../../ui/Page';
import { Failure, Loading } from '../../ui/states';
import { Time } from '../../ui/Time';
import { VirtualList } from '../../ui/VirtualList';

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error'];
const ROW_PX = 22;
const MAX_HEIGHT_PX = 420;
/** How long the server may hold a request for new lines. */
const WAIT = '10s';
const RETRY_MS = 3_000;

export function Logs({ run }: { run: RunDetails }) {
  const { lines, error, isLive } = useLogs(run.id);
  const [level, setLevel] = useState('trace');
  const [text, setText] = useState('');
  const [open, setOpen] = useState<LogItem>();
  const shown = useMemo(() => {
    const least = LEVELS.indexOf(level);
    const wanted = text.toLowerCase();
    return lines?.filter(
      (line) =>
        LEVELS.indexOf(line.level) >= least &&
        (wanted === '' ||
          `${line.message} ${line.attributes ? formatJson(line.attributes, 0) : ''}`.toLowerCase().includes(wanted)),
    );
  }, [lines, level, text]);
  const whole = () => (shown ?? []).map((line) => `${line.at} ${line.level} ${line.message}`).join('\n');
  return (
    <Section
      title="Logs"
      beside={
        <>
          {isLive && <span class="live">live</span>}
          <input
            type="search"
            class="log-search"
            placeholder="Find in logs"
            aria-label="Find in logs"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
          <select aria-label="Least level" value={level} onChange={(event) => setLevel(event.currentTarget.value)}>
            {LEVELS.map((name) => (
              <option key={name} value={name}>
                {name === 'trace' ? 'all levels' : `${name} and above`}
              </option>
            ))}
          </select>
          {shown && shown.length > 0 && <Copy text={whole} label="these lines" />}
        </>
      }
    >
      {error && <Failure text={`${error.message} Asking again.`} />}
      {!shown && !error && <Loading rows={3} />}
      {shown && shown.length === 0 && <NoLines isFiltered={(lines?.length ?? 0) > 0} isOver={run.isCompleted} />}
      {shown && shown.length > 0 && (
        <VirtualList
          label="Log lines"
          rows={shown}
          rowHeight={ROW_PX}
          maxHeight={MAX_HEIGHT_PX}
          keyOf={(line) => line.seq}
          follows={isLive}
          draw={(line) => <Line line={line} hasAttempts={run.attemptCount > 1} onOpen={() => setOpen(line)} />}
        />
      )}
      {lines && lines.length > 0 && <p class="faint log-count">{counted(shown?.length ?? 0, 'line')}</p>}
      {open && <LineDialog line={open} onClose={() => setOpen(undefined)} />}
    </Section>
  );
}

function NoLines({ isFiltered, isOver }: { isFiltered: boolean; isOver: boolean }) {
  if (isFiltered) return <p class="faint">No line fits.</p>;
  return <p class="faint">{isOver ? 'It logged nothing.' : 'Nothing yet. Lines appear here as they are written.'}</p>;
}

function Line({ line, hasAttempts, onOpen }: { line: LogItem; hasAttempts: boolean; onOpen: () => void }) {
  return (
    <button type="button" class={`log-line level-${line.level}`} onClick={onOpen}>
      <span class="faint">{timeOfDay(Date.parse(line.at))}</span>
      {hasAttempts && <span class="faint">#{line.attempt}</span>}
      <span class="log-level">{line.level}</span>
      <span class="log-message">
        {line.message}
        {line.attributes !== undefined && line.attributes !== null && <i>{formatJson(line.attributes, 0)}</i>}
      </span>
    </button>
  );
}

function LineDialog({ line, onClose }: { line: LogItem; onClose: () => void }) {
  return (
    <Dialog title={`Line ${line.seq}: ${line.level}`} onClose={onClose} wide>
      <div class="stack">
        <p class="faint">
          <Time at={line.at} />, attempt {line.attempt}, from {line.source}
        </p>
        <pre class="panel">{line.message}</pre>
        {line.attributes !== undefined && line.attributes !== null && <Json value={line.attributes} label="the attributes" />}
      </div>
    </Dialog>
  );
}

interface RunLogs {
  lines: LogItem[] | undefined;
  error: ApiFailure | undefined;
  isLive: boolean;
}

/** Reads to the end, then waits for more until the run has ended. Rests while the tab is hidden. */
function useLogs(id: string): RunLogs {
  const [state, setState] = useState<RunLogs>({ lines: undefined, error: undefined, isLive: true });
  useEffect(() => {
    const abort = new AbortController();
    const { signal } = abort;
    let lines: LogItem[] = [];
    const read = async () => {
      let after = 0;
      let wait: string | undefined;
      while (!signal.aborted) {
        if (document.hidden) {
          await pause(RETRY_MS);
          continue;
        }
        try {
          const query = { after: String(after), wait };
          const page = await get('/api/v1/runs/{run}/logs', { path: { run: id }, query, signal });
          after = page.next;
          wait = WAIT;
          const added = page.logs.filter((item) => item.kind === 'line');
          if (added.length > 0) lines = [...lines, ...added];
          setState({ lines, error: undefined, isLive: !page.isComplete });
          if (page.isComplete) return;
        } catch (error) {
          if (signal.aborted || !(error instanceof ApiFailure)) return;
          setState((before) => ({ ...before, error }));
          await pause(RETRY_MS);
        }
      }
    };
    void read();
    return () => abort.abort();
  }, [id]);
  return state;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
