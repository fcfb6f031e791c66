// A run and its live replay side by side: how they ended, whole outputs, what they used. Which calls
// they made is compared in the sandbox only, where both are on record.

import { get } from '../../api/client';
import { formatJson } from '../../api/exact';
import type { RunDetails } from '../../api/types';
import { bytes, duration, factor } from '../../core/format';
import { useQuery } from '../../core/query';
import { environment, pathIn } from '../../core/session';
import { Diff } from '../../ui/Editor';
import { Section } from '../../ui/Page';
import { Loaded } from '../../ui/states';
import { Status } from '../../ui/Status';
import { ThenNow, type Line } from './ThenNow';

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
  const took = (run: RunDetails) =>
    run.startedAt && run.finishedAt ? Date.parse(run.finishedAt) - Date.parse(run.startedAt) : undefined;
  const [before, after] = [took(then), took(now)];
  const lines: Line[] = [
    { name: 'Run', then: <a href={pathIn('runs', then.id)}>{then.id}</a>, now: <a href={pathIn('runs', now.id)}>{now.id}</a> },
    { name: 'Status', then: <Status of={then.status} />, now: <Status of={now.status} /> },
    { name: 'Version', then: then.version, now: now.version, change: then.version === now.version ? 'the same' : '' },
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
  return (
    <>
      <ThenNow lines={lines} />
      <Difference title="Output or error" then={endOf(then)} now={endOf(now)} />
      <Difference title="Payload" then={textOf(then.payload)} now={textOf(now.payload)} />
      <Difference title="Metadata" then={textOf(then.metadata)} now={textOf(now.metadata)} />
      <p class="section faint">
        Calls are compared where both runs are on record:{' '}
        <a href={`${pathIn('runs', then.id, 'replays', 'sandbox')}${now.version ? `?version=${now.version}` : ''}`}>
          replay the source run on version {now.version} in the sandbox
        </a>
        .
      </p>
    </>
  );
}

function textOf(value: unknown): string {
  return value === undefined || value === null ? '' : formatJson(value);
}

function endOf(run: RunDetails): string {
  if (run.error) return formatJson(run.error);
  return run.output === undefined ? '' : formatJson(run.output);
}

function Difference({ title, then, now }: { title: string; then: string; now: string }) {
  return (
    <Section title={title}>
      {then === now ? (
        <p class="faint">{then === '' ? 'Neither has one.' : 'No difference.'}</p>
      ) : (
        <Diff label={title} before={then} after={now} />
      )}
    </Section>
  );
}
