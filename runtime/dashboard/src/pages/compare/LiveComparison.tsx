// A run and its live replay side by side: how they ended, whole outputs, what they used, and which
// calls they made, as far as both are on record.

import { get } from '../../api/client';
import type { RunComparison, RunDetails } from '../../api/types';
import { bytes, duration, factor } from '../../core/format';
import { useQuery } from '../../core/query';
import { changeRules, useRules, withRule } from '../../core/rules';
import { environment, pathIn } from '../../core/session';
import { toast } from '../../core/toast';
import { Section } from '../../ui/Page';
import { Failure, Loaded, Loading } from '../../ui/states';
import { Status } from '../../ui/Status';
import { Verdict, verdictText, verdictTextOfEnds } from '../../ui/Verdict';
import { ComparisonView, type OnIgnore } from './ComparisonView';
import { endOf, textOf } from './ends';
import { RulesPanel } from './RulesPanel';
import { ThenNow, type Line } from './ThenNow';
import { WholeDiff } from './WholeDiff';

export function LiveComparison({ source, replay }: { source: RunDetails; replay: string }) {
  const slug = environment.value?.slug;
  const found = useQuery(
    slug && `${slug}/run/${replay}`,
    (signal) => get('/api/v3/runs/{run}', { path: { run: replay }, signal }),
    {
      every: (run) => (run.isCompleted ? undefined : 1_000),
    },
  );
  return <Loaded query={found}>{(now) => <Sides then={source} now={now} />}</Loaded>;
}

function Sides({ then, now }: { then: RunDetails; now: RunDetails }) {
  const slug = environment.value?.slug;
  const rules = useRules();
  const isOver = then.isCompleted && now.isCompleted;
  const compared = useQuery(
    isOver && slug && rules.data ? `${slug}/comparison/${then.id}/${now.id}/${rules.data.updatedAt}` : undefined,
    (signal) => get('/api/v1/runs/{run}/comparison', { path: { run: now.id }, query: { with: then.id }, signal }),
    { keepsOld: true },
  );
  const task = then.taskIdentifier;
  const ignore: OnIgnore = (list, entry) => {
    changeRules(task, (own) => withRule(own, list, entry)).catch((error: Error) => toast(error.message, 'error'));
  };
  return (
    <>
      {!isOver && (
        <p class="verdict-line">
          {now.isCompleted ? 'The source run goes on.' : 'The replay goes on. It is compared when it has ended.'}
        </p>
      )}
      {compared.data ? (
        <>
          <Notes of={compared.data} />
          <ComparisonView
            comparison={compared.data.comparison}
            lines={linesOf(then, now)}
            whole={{ then: endOf(then), now: endOf(now) }}
            noEffects={whyNoEffects(compared.data)}
            onIgnore={ignore}
          />
        </>
      ) : (
        <>
          {compared.error && <Failure text={`Their calls are not compared. ${compared.error.message}`} retry={compared.reload} />}
          {compared.isLoading && <Loading rows={2} />}
          <Section title="Then and now">
            <ThenNow lines={linesOf(then, now)} />
          </Section>
          {isOver && <Difference title="Output or error" then={endOf(then)} now={endOf(now)} />}
        </>
      )}
      <Difference title="Payload" then={textOf(then.payload)} now={textOf(now.payload)} />
      {isOver && <RulesPanel task={task} />}
    </>
  );
}

function Notes({ of }: { of: RunComparison }) {
  const { verdict } = of.comparison;
  return (
    <>
      <div class="verdict-line">
        <Verdict of={verdict} />
        <span>{whyNoEffects(of) ? verdictTextOfEnds(verdict) : verdictText(verdict)}</span>
      </div>
      {(of.notes ?? []).map((note) => (
        <p key={note} class="faint trace-note">
          {note}
        </p>
      ))}
    </>
  );
}

/** Why their calls were not compared; `undefined` where they were. */
function whyNoEffects({ areCallsCompared, then, now }: RunComparison): string | undefined {
  if (areCallsCompared ?? (then.isRecorded && now.isRecorded)) return undefined;
  if (!then.isRecorded && !now.isRecorded) return 'neither run has a recording';
  return then.isRecorded ? 'the replay has no recording' : 'the source run has no recording';
}

function linesOf(then: RunDetails, now: RunDetails): Line[] {
  const took = (run: RunDetails) =>
    run.startedAt && run.finishedAt ? Date.parse(run.finishedAt) - Date.parse(run.startedAt) : undefined;
  const [before, after] = [took(then), took(now)];
  return [
    { name: 'Run', then: <a href={pathIn('runs', then.id)}>{then.id}</a>, now: <a href={pathIn('runs', now.id)}>{now.id}</a> },
    { name: 'Status', then: <Status of={then.status} />, now: <Status of={now.status} /> },
    { name: 'Version', then: then.version, now: now.version },
    {
      name: 'CPU time',
      then: duration(then.durationMs),
      now: duration(now.durationMs),
      change: factor(then.durationMs, now.durationMs),
    },
    {
      name: 'Duration',
      then: before === undefined ? '–' : duration(before),
      now: after === undefined ? '–' : duration(after),
      change: before !== undefined && after !== undefined ? factor(before, after) : undefined,
    },
    {
      name: 'Peak memory',
      then: bytes(then.peakMemoryBytes),
      now: bytes(now.peakMemoryBytes),
      change: factor(then.peakMemoryBytes, now.peakMemoryBytes),
    },
    { name: 'Attempts', then: then.attemptCount, now: now.attemptCount },
  ];
}

function Difference({ title, then, now }: { title: string; then: string; now: string }) {
  return (
    <Section title={title}>
      {then === now ? (
        <p class="faint">{then === '' ? 'Neither has one.' : 'The same.'}</p>
      ) : (
        <WholeDiff label={title} then={then} now={now} />
      )}
    </Section>
  );
}
