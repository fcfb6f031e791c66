// With what a run ended: its output, or its error with the backtrace; until then, what it waits for.

import type { RunDetails } from '../../api/types';
import { pathIn } from '../../core/session';
import { Copy } from '../../ui/Copy';
import { Json } from '../../ui/Json';
import { Section } from '../../ui/Page';
import { Time } from '../../ui/Time';

export function Outcome({ run }: { run: RunDetails }) {
  return (
    <>
      {run.error && <RunError error={run.error} isOver={run.isCompleted} />}
      {run.output !== undefined && (
        <Section title="Output">
          <Json value={run.output} label="the output" />
        </Section>
      )}
      {run.waitsFor && run.waitsFor.length > 0 && <Waits run={run} />}
    </>
  );
}

function RunError({ error, isOver }: { error: NonNullable<RunDetails['error']>; isOver: boolean }) {
  const whole = [error.name, error.message, error.stackTrace].filter(Boolean).join('\n');
  return (
    <Section title={isOver ? 'Error' : 'Error of the last attempt'} beside={<Copy text={whole} label="the error" />}>
      <div class="run-error">
        <p>
          {error.name && <b>{error.name}</b>} <span>{error.message}</span>
        </p>
        {error.stackTrace && <Backtrace text={error.stackTrace} />}
      </div>
    </Section>
  );
}

/** Frames of the language, not of the task. */
const FOREIGN = /^\s*(?:\d+:\s*)?(?:<?(?:std|core|alloc|panic_unwind)\b|_{1,2}rust|abort\b)/;
/** What the compiler adds to names. */
const HASH = /\[[0-9a-f]{16}\]|::h[0-9a-f]{16}\b/g;

/** One frame a line: the name stands out, where it is stays quiet. */
function Backtrace({ text }: { text: string }) {
  const frames = text.split('\n').filter((line) => line.trim() !== '');
  return (
    <ol class="backtrace" aria-label="Backtrace" tabIndex={0}>
      {frames.map((frame, place) => {
        const [, name, where] = /^\s*(?:\d+:\s*)?(.*?)(\s+(?:at\s|\().*)?$/.exec(frame) ?? [];
        return (
          <li key={place} class={FOREIGN.test(frame) ? 'foreign' : undefined} title={frame.trim()}>
            <span>{(name || where || '').replaceAll(HASH, '')}</span>
            {name && where && <span class="faint">{where}</span>}
          </li>
        );
      })}
    </ol>
  );
}

const MAX_WAITS = 20;

function Waits({ run }: { run: RunDetails }) {
  const waits = run.waitsFor ?? [];
  return (
    <Section title="It waits for">
      <ul class="panel waits">
        {waits.slice(0, MAX_WAITS).map((wait, place) => (
          <li key={place}>
            {wait.type === 'MOMENT' && (
              <>
                a moment, <Time at={wait.at} />
              </>
            )}
            {wait.type === 'TOKEN' && (
              <>
                the token <a href={pathIn('tokens', wait.id)}>{wait.id}</a>
              </>
            )}
            {wait.type === 'RUN' && (
              <>
                the run <a href={pathIn('runs', wait.id)}>{wait.id}</a>
              </>
            )}
          </li>
        ))}
        {waits.length > MAX_WAITS && <li class="faint">and {waits.length - MAX_WAITS} more</li>}
      </ul>
    </Section>
  );
}
