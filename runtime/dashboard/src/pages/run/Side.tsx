// What is known of a run beside what it did: its states, its settings, and the runs around it.

import type { ComponentChildren } from 'preact';
import { get } from '../../api/client';
import type { EventItem, RelatedRun, RunDetails } from '../../api/types';
import { bytes, count, counted, duration, moment, shortId, timeOfDay } from '../../core/format';
import { useQuery } from '../../core/query';
import { environment, pathIn } from '../../core/session';
import { Facts, Section } from '../../ui/Page';
import { Failure } from '../../ui/states';
import { Status } from '../../ui/Status';
import { Elapsed, Time } from '../../ui/Time';
import { Tags } from '../runs/RunsTable';

export function Side({ run }: { run: RunDetails }) {
  return (
    <aside class="run-side" aria-label="About the run">
      <Timeline run={run} />
      <Section title="Details">
        <Facts items={details(run)} />
      </Section>
      <Relations run={run} />
    </aside>
  );
}

type Fact = readonly [string, ComponentChildren];

function details(run: RunDetails): Fact[] {
  const runs = (parameter: string, value: string) => (
    <a href={`${pathIn('runs')}?${parameter}=${encodeURIComponent(value)}`}>{value}</a>
  );
  const given = (name: string, value: ComponentChildren): Fact[] => (value ? [[name, value]] : []);
  return [
    ['Task', <a href={pathIn('tasks', run.taskIdentifier)}>{run.taskIdentifier}</a>],
    ['Version', run.version ? <a href={pathIn('deployments', run.version)}>{run.version}</a> : 'none yet'],
    ['Queue', runs('queue', run.queue)],
    ['Triggered', <Time at={run.createdAt} />],
    ...given('Delayed until', run.delayedUntil && <Time at={run.delayedUntil} />),
    ['In the queue', <Elapsed from={run.delayedUntil ?? run.createdAt} to={run.startedAt ?? run.finishedAt} />],
    ['Took', <Elapsed from={run.startedAt} to={run.finishedAt} />],
    ['CPU time', duration(run.durationMs)],
    ['Peak memory', run.peakMemoryBytes > 0 ? bytes(run.peakMemoryBytes) : '–'],
    ['Attempts', run.maxAttempts ? `${count(run.attemptCount)} of ${count(run.maxAttempts)}` : count(run.attemptCount)],
    ...given('Machine', run.machine),
    ...given('CPU limit', run.maxDuration && duration(run.maxDuration * 1_000)),
    ...given('Priority', run.priority && `${run.priority} s`),
    ...given('Concurrency key', run.concurrencyKey && <code>{run.concurrencyKey}</code>),
    ['Triggered by', `${run.triggerFunction}${run.depth > 0 ? `, at depth ${run.depth}` : ''}`],
    ...given('Idempotency key', run.idempotencyKey && <code>{run.idempotencyKey}</code>),
    ...given('TTL', run.ttl),
    ...given('Batch', run.batchId && <a href={pathIn('batches', run.batchId)}>{run.batchId}</a>),
    ...given('Bulk action', run.bulkActionId && <a href={pathIn('bulk', run.bulkActionId)}>{run.bulkActionId}</a>),
    ...given('Schedule', run.schedule && runs('schedule', run.schedule.id)),
    ...given('Tags', run.tags.length > 0 && <Tags tags={run.tags} />),
  ];
}

/** The states of the run, each with how long it lasted. */
function Timeline({ run }: { run: RunDetails }) {
  const slug = environment.value?.slug;
  const found = useQuery(
    slug && `${slug}/events/${run.id}/${run.updatedAt}`,
    (signal) => get('/api/v1/runs/{run}/events', { path: { run: run.id }, signal }),
    { keepsOld: true },
  );
  const events = found.data?.events ?? [];
  return (
    <Section title="States">
      {found.error && <Failure text={found.error.message} retry={found.reload} />}
      <ol class="timeline">
        {events.map((event, place) => (
          <State key={event.seq} event={event} next={events[place + 1]} isOver={run.isCompleted} />
        ))}
      </ol>
    </Section>
  );
}

function State({ event, next, isOver }: { event: EventItem; next: EventItem | undefined; isOver: boolean }) {
  const isLast = next === undefined;
  return (
    <li>
      <Status of={event.status} />
      <span class="faint" title={moment(Date.parse(event.at))}>
        {timeOfDay(Date.parse(event.at))}
      </span>
      <span class="number">{isLast && isOver ? '' : <Elapsed from={event.at} to={next?.at} />}</span>
      {(event.attempt > 1 || event.detail) && (
        <small class="faint">
          {event.attempt > 1 && `Attempt ${event.attempt}. `}
          {event.detail}
        </small>
      )}
    </li>
  );
}

function Relations({ run }: { run: RunDetails }) {
  const { root, parent, children = [] } = run.relatedRuns;
  const hasAny = root || parent || children.length > 0 || run.replayedFrom || run.replays.length > 0;
  if (!hasAny) return null;
  return (
    <Section title="Related runs">
      <ul class="relations">
        {run.replayedFrom && <Relation title="Replays" id={run.replayedFrom} compare={[run.replayedFrom, run.id]} />}
        {root && root.id !== parent?.id && <Relation title="Root" id={root.id} run={root} />}
        {parent && <Relation title="Parent" id={parent.id} run={parent} />}
        {run.replays.map((id) => (
          <Relation key={id} title="Replay" id={id} compare={[run.id, id]} />
        ))}
        {children.map((child) => (
          <Relation key={child.id} title="Child" id={child.id} run={child} />
        ))}
      </ul>
      {run.replays.length > 0 && (
        <p>
          <a href={`${pathIn('runs')}?replayedFrom=${run.id}`}>All its replays in the list</a>
        </p>
      )}
      {children.length >= 100 && <p class="faint">The first {counted(100, 'child', 'children')} are shown.</p>}
    </Section>
  );
}

interface RelationProps {
  title: string;
  id: string;
  run?: RelatedRun;
  /** Source and replay, to be compared. */
  compare?: readonly [string, string];
}

function Relation({ title, id, run, compare }: RelationProps) {
  return (
    <li>
      <span class="faint">{title}</span>
      <a href={pathIn('runs', id)} title={id}>
        {run?.taskIdentifier ?? shortId(id)}
      </a>
      {run && <Status of={run.status} />}
      {compare && <a href={pathIn('runs', compare[0], 'replays', compare[1])}>Compare</a>}
    </li>
  );
}
