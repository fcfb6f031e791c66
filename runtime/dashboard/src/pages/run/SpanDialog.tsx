// One span of a trace: when, how long, what it carries, what happened in it.

import type { SpanEvent, TraceSpan } from '../../api/types';
import { duration, timeOfDay } from '../../core/format';
import { pathIn } from '../../core/session';
import { Dialog } from '../../ui/Dialog';
import { Json } from '../../ui/Json';
import { Facts } from '../../ui/Page';
import { Time } from '../../ui/Time';

const MAX_EVENTS = 200;

export function SpanDialog({ span, root, onClose }: { span: TraceSpan; root: TraceSpan; onClose: () => void }) {
  const { data } = span;
  const after = Date.parse(data.startTime) - Date.parse(root.data.startTime);
  const events = data.events ?? [];
  const isChild = span.runId !== root.runId;
  return (
    <Dialog title={data.message} onClose={onClose} wide>
      <div class="stack">
        <Facts
          items={[
            [
              'Began',
              <span>
                {duration(after)} after the run was triggered, <Time at={data.startTime} />
              </span>,
            ],
            [data.isPartial ? 'So far' : 'Took', duration(data.duration / 1e6)],
            ['Ended', data.isPartial ? 'not yet' : data.isCancelled ? 'canceled' : data.isError ? 'with an error' : 'well'],
            ...(isChild ? [['Run', <a href={pathIn('runs', span.runId)}>{span.runId}</a>] as const] : []),
            ...(data.queueName ? [['Queue', data.queueName] as const] : []),
            ...(data.workerVersion ? [['Version', data.workerVersion] as const] : []),
          ]}
        />
        {data.properties !== undefined && data.properties !== null && <Json value={data.properties} label="the attributes" />}
        {events.length > 0 && (
          <ol class="span-events" aria-label="What happened">
            {events.slice(0, MAX_EVENTS).map((event, place) => (
              <li key={place}>
                <span class="faint number">{timeOfDay(Date.parse(event.time))}</span> <EventText event={event} />
              </li>
            ))}
            {events.length > MAX_EVENTS && <li class="faint">and {events.length - MAX_EVENTS} more: see the logs</li>}
          </ol>
        )}
      </div>
    </Dialog>
  );
}

interface KnownProperties {
  status?: string;
  detail?: string;
  level?: string;
  message?: string;
  exception?: { type?: string; message?: string };
}

function EventText({ event }: { event: SpanEvent }) {
  const properties = event.properties as KnownProperties;
  switch (event.name) {
    case 'status':
      return (
        <>
          <b>{properties.status}</b> {properties.detail}
        </>
      );
    case 'log':
      return (
        <>
          <b>{properties.level}</b> {properties.message}
        </>
      );
    case 'exception':
      return (
        <span class="wrong">
          <b>{properties.exception?.type}</b> {properties.exception?.message}
        </span>
      );
    default:
      return <>{event.name}</>;
  }
}
