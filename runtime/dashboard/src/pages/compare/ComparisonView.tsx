// What a comparison found, then and now: how both ended, what differs in the output, the metadata
// and the calls, what they used. Every difference can become a noise rule on the spot.

import { useState } from 'preact/hooks';
import type { Change, Comparison } from '../../api/types';
import { bytes, count, counted, duration, factor } from '../../core/format';
import { Section } from '../../ui/Page';
import { Effects, EffectList, NoEffects } from './Effects';
import { ThenNow, type Line } from './ThenNow';
import { WholeDiff } from './WholeDiff';

/** Adds a rule; without it, differences cannot be ignored from here. */
export type OnIgnore = (list: 'ignore-output' | 'ignore-metadata' | 'ignore-effects', entry: string) => void;

/** What was returned or failed with, as text: in full, beside the list of what differs. */
export interface WholeTexts {
  then: string;
  now: string;
}

interface ComparisonViewProps {
  comparison: Comparison;
  /** Left out: what the comparison itself knows of both sides. */
  lines?: readonly Line[];
  whole?: WholeTexts | undefined;
  /** Why calls were not compared; left out where they were. */
  noEffects?: string | undefined;
  onIgnore?: OnIgnore | undefined;
}

export function ComparisonView({ comparison, lines, whole, noEffects, onIgnore }: ComparisonViewProps) {
  const { ends, output, metadata, effects } = comparison;
  const newVariables = comparison.newVariables?.items ?? [];
  const hasFailed = ends.then.kind !== 'completed' || ends.now.kind !== 'completed';
  const isOverlooked =
    whole !== undefined && whole.then !== whole.now && ends.then.kind === ends.now.kind && output.items.length === 0;
  const same = isOverlooked
    ? 'What differs is overlooked by the noise rules.'
    : ends.then.kind === ends.now.kind
      ? 'No difference.'
      : 'Nothing to compare: one has an output, the other an error.';
  return (
    <>
      {comparison.passedBudgets && comparison.passedBudgets.length > 0 && (
        <Section title="Budgets that were passed">
          <ul class="panel">
            {comparison.passedBudgets.map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
        </Section>
      )}
      <Section title="Then and now">
        <ThenNow lines={lines ?? linesOf(comparison)} />
      </Section>
      <Section title={hasFailed ? 'Output or error' : 'Output'}>
        {whole && whole.then !== whole.now && !isOverlooked && <WholeDiff label="Output" then={whole.then} now={whole.now} />}
        <Changes
          changes={output.items}
          more={output.more ?? 0}
          same={same}
          {...(onIgnore ? { onIgnore: (path: string) => onIgnore('ignore-output', path) } : {})}
        />
        {whole && isOverlooked && <Overlooked whole={whole} />}
      </Section>
      {metadata.items.length > 0 && (
        <Section title="Metadata">
          <Changes
            changes={metadata.items}
            more={metadata.more ?? 0}
            same=""
            {...(onIgnore ? { onIgnore: (path: string) => onIgnore('ignore-metadata', path) } : {})}
          />
        </Section>
      )}
      {noEffects ? (
        <NoEffects why={noEffects} />
      ) : (
        <Effects effects={effects} onIgnore={onIgnore && ((entry) => onIgnore('ignore-effects', entry))} />
      )}
      {comparison.children && comparison.children.items.length > 0 && (
        <Section title="Child runs">
          {comparison.children.items.map((child, place) => (
            <div key={place} class="child-changes">
              <h3>
                {child.task}
                {child.notExecuted && <span class="faint"> was not executed: the run that it stands for is not on record</span>}
              </h3>
              <EffectList effects={child.effects} onIgnore={undefined} />
            </div>
          ))}
        </Section>
      )}
      {newVariables.length > 0 && (
        <Section title="New variables">
          <p>
            The environment has variables now that the recording has not:{' '}
            {newVariables.map((name) => (
              <code class="tag" key={name}>
                {name}
              </code>
            ))}
          </p>
        </Section>
      )}
    </>
  );
}

/** A diff of whole texts knows nothing of rules: it would contradict them if it stood open. */
function Overlooked({ whole }: { whole: WholeTexts }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Both in full, before the rules</summary>
      {isOpen && <WholeDiff label="Output" then={whole.then} now={whole.now} />}
    </details>
  );
}

function linesOf({ ends, usage, logs }: Comparison): Line[] {
  const { then, now } = usage;
  return [
    { name: 'Ended', then: <End end={ends.then} />, now: <End end={ends.now} /> },
    { name: 'CPU time', then: duration(then.cpuUs / 1e3), now: duration(now.cpuUs / 1e3), change: factor(then.cpuUs, now.cpuUs) },
    {
      name: 'Duration',
      then: duration(then.wallUs / 1e3),
      now: duration(now.wallUs / 1e3),
      change: factor(then.wallUs, now.wallUs),
    },
    {
      name: 'Peak memory',
      then: bytes(then.peakMemoryBytes),
      now: bytes(now.peakMemoryBytes),
      change: factor(then.peakMemoryBytes, now.peakMemoryBytes),
    },
    { name: 'Log lines', then: counts(logs.then), now: counts(logs.now) },
  ];
}

const END_WORDS: Record<string, string> = {
  completed: 'completed',
  task: 'failed',
  crash: 'crashed',
  'out-of-memory': 'out of memory',
  'time-limit': 'timed out',
};

/** How a run ended, as a word. */
export function endWord(kind: string): string {
  return END_WORDS[kind] ?? kind;
}

function End({ end }: { end: Comparison['ends']['then'] }) {
  return (
    <>
      {endWord(end.kind)}
      {end.name && <b> {end.name}</b>}
      {end.message && <span class="faint"> {end.message}</span>}
    </>
  );
}

function counts(of: Comparison['logs']['then']): string {
  const levels = (['error', 'warn', 'info', 'debug', 'trace'] as const).filter((level) => (of[level] ?? 0) > 0);
  return levels.map((level) => `${count(of[level] ?? 0)} ${level}`).join(', ') || 'none';
}

interface ChangesProps {
  changes: readonly Change[];
  more: number;
  same: string;
  onIgnore?: (path: string) => void;
}

function Changes({ changes, more, same, onIgnore }: ChangesProps) {
  if (changes.length === 0) return <p class="faint">{same}</p>;
  return (
    <>
      <ul class="changes">
        {changes.map((change) => (
          <li key={change.path}>
            <header>
              <code>{change.path}</code>
              {onIgnore && change.path.startsWith('$') && (
                <button
                  type="button"
                  class="quiet"
                  onClick={() => onIgnore(anyItem(change.path))}
                  title={`Overlook ${anyItem(change.path)} from now on`}
                >
                  Ignore
                </button>
              )}
            </header>
            <Value text={change.before ?? undefined} side="then" />
            <Value text={change.after ?? undefined} side="now" />
          </li>
        ))}
      </ul>
      {more > 0 && <p class="faint">{counted(more, 'more difference')} not shown.</p>}
    </>
  );
}

/** A rule for one item of a list is one for all of them. */
function anyItem(path: string): string {
  return path.replace(/\[\d+\]/g, '[*]');
}

export function Value({ text, side }: { text: string | undefined; side: 'then' | 'now' }) {
  return (
    <pre class={`side-${side}`}>
      <span class="visually-hidden">{side}: </span>
      {text ?? <i class="faint">nothing</i>}
    </pre>
  );
}
