// One task: its settings, its newest runs, and the test: a run made by hand, from an old payload.

import { useState } from 'preact/hooks';
import { get, post } from '../../api/client';
import { formatJson } from '../../api/exact';
import type { RunItem } from '../../api/types';
import { useAction } from '../../core/action';
import { counted, duration, shortId } from '../../core/format';
import { useTasks, type DeployedTask } from '../../core/known';
import { useQuery } from '../../core/query';
import { navigate, query, setQuery } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { Confirm } from '../../ui/Dialog';
import { jsonComplaint, objectComplaint } from '../../ui/Editor';
import { EditorField } from '../../ui/EditorField';
import { FailureShare } from '../../ui/FailureShare';
import { Field, SelectField } from '../../ui/Field';
import { More } from '../../ui/More';
import { Facts, Page, Section } from '../../ui/Page';
import { givenOptions, NO_OPTIONS, RunOptions, tagList } from '../../ui/RunOptions';
import { PeriodPicker, SeriesPlots } from '../../ui/Series';
import { Empty, Loaded, Refusal } from '../../ui/states';
import { statusWord } from '../../ui/Status';
import { noteOf, useVersions } from '../replay/versions';
import { RunsTable } from '../runs/RunsTable';

const EVERY_MS = 3_000;
const OLD_PAYLOADS = 20;

export function TaskPage({ id }: { id: string }) {
  const tasks = useTasks();
  const slug = environment.value?.slug;
  const runs = useQuery(
    slug && `${slug}/task-runs/${id}`,
    (signal) => get('/api/v1/runs', { query: { 'filter[taskIdentifier]': id, 'page[size]': String(OLD_PAYLOADS) }, signal }),
    { every: () => EVERY_MS },
  );
  const task = tasks.data?.find((known) => known.id === id);
  return (
    <Page title={id} tab={`Task ${id}`} up={[pathIn('tasks'), 'Tasks']}>
      {task && <Settings task={task} />}
      {tasks.data && !task && <p class="faint">No current version has this task: a run of it waits until one has.</p>}
      <Statistics id={id} />
      <Test id={id} runs={runs.data?.data ?? []} />
      <Section
        title="Newest runs"
        beside={<a href={`${pathIn('runs')}?taskIdentifier=${encodeURIComponent(id)}`}>All its runs</a>}
      >
        <Loaded query={runs}>
          {(page) =>
            page.data.length === 0 ? (
              <Empty title="No runs yet" />
            ) : (
              <RunsTable label="Newest runs" runs={page.data.slice(0, 10)} keyboard="List" />
            )
          }
        </Loaded>
      </Section>
    </Page>
  );
}

function Statistics({ id }: { id: string }) {
  const slug = environment.value?.slug;
  const period = query.value.get('period') ?? '24h';
  const found = useQuery(
    slug && `${slug}/statistics/${id}/${period}`,
    (signal) => get('/api/v1/tasks/{task}/statistics', { path: { task: id }, query: { period }, signal }),
    { every: () => EVERY_MS * 3, keepsOld: true },
  );
  return (
    <Section title="Statistics" beside={<PeriodPicker value={period} onChange={(to) => setQuery({ period: to }, true)} />}>
      <Loaded query={found}>
        {(of) => (
          <>
            <p class="row">
              <span>{counted(of.completed, 'run')} completed,</span>
              <span>
                <FailureShare of={of} /> failed,
              </span>
              <span>{of.dropped} dropped.</span>
              {of.p50Ms != null && of.p99Ms != null && (
                <span class="faint">
                  Half took {duration(of.p50Ms)} at most, 99 of 100 {duration(of.p99Ms)}.
                </span>
              )}
            </p>
            <SeriesPlots series={of.series} />
          </>
        )}
      </Loaded>
    </Section>
  );
}

function Settings({ task }: { task: DeployedTask }) {
  const { retry } = task;
  const delays = `${duration(retry.minDelayMs)} to ${duration(retry.maxDelayMs)}, factor ${retry.factor}${retry.randomize ? ', randomized' : ''}`;
  return (
    <>
      {task.description && <p class="description">{task.description}</p>}
      <Facts
        items={[
          ['Version', <a href={pathIn('deployments', task.version)}>{`${task.version} of ${task.component}`}</a>],
          [
            'Queue',
            <a
              href={pathIn('queues')}
            >{`${task.queue}${task.queueConcurrencyLimit ? `, ${task.queueConcurrencyLimit} at a time` : ''}`}</a>,
          ],
          ['Attempts', task.maxAttempts === 1 ? 'one' : `${task.maxAttempts}, after ${delays}`],
          ['Machine', task.machine],
          ['CPU limit', task.maxDuration ? duration(task.maxDuration * 1_000) : 'the server’s default'],
          ...(task.ttlSeconds ? [['TTL', duration(task.ttlSeconds * 1_000)] as const] : []),
          ...(task.cron ? [['Cron', <a href={pathIn('schedules')}>{`${task.cron} ${task.timezone ?? 'UTC'}`}</a>] as const] : []),
          [
            'Recordings',
            task.keepsJournals
              ? 'kept: its runs can be replayed in the sandbox'
              : 'not kept: its runs cannot be replayed in the sandbox',
          ],
        ]}
      />
    </>
  );
}

function Test({ id, runs }: { id: string; runs: readonly RunItem[] }) {
  const [payload, setPayload] = useState('{}');
  const [prefill, setPrefill] = useState({ run: '', text: '{}' });
  const [metadata, setMetadata] = useState('');
  const [options, setOptions] = useState(NO_OPTIONS);
  const [version, setVersion] = useState('');
  const [isTest, setTest] = useState(true);
  const [isAsking, setAsking] = useState(false);
  const versions = useVersions(environment.value?.slug ?? '', id, version);
  const complaint = payload.trim() === '' ? undefined : jsonComplaint(payload);
  const metadataComplaint = objectComplaint(metadata);

  const fill = useAction(async (run: string) => {
    const old = await get('/api/v3/runs/{run}', { path: { run } });
    const text = old.payload === undefined ? '' : formatJson(old.payload);
    setPrefill({ run, text });
    setPayload(text);
  });
  const trigger = async () => {
    const tags = tagList(options.tags);
    const given = {
      ...givenOptions(options),
      ...(tags.length > 0 ? { tags } : {}),
      ...(options.queue.trim() ? { queue: { name: options.queue.trim() } } : {}),
      ...(version ? { lockToVersion: version } : {}),
      ...(isTest ? { test: true } : {}),
    };
    // Payload and metadata go as they were typed.
    const members = Object.entries(given).map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
    if (metadata.trim()) members.push(`"metadata":${metadata}`);
    const body = `{"payload":${payload.trim() || 'null'},"options":{${members.join(',')}}}`;
    const made = await post('/api/v1/tasks/{task}/trigger', { path: { task: id }, bodyText: body });
    navigate(pathIn('runs', made.id));
    return made.isCached ? 'The idempotency key found an older run: this is it.' : 'The run was triggered.';
  };
  const action = useAction(trigger, true);
  const submit = (event: Event) => {
    event.preventDefault();
    if (environment.value?.type === 'PRODUCTION') setAsking(true);
    else void action.run();
  };
  return (
    <Section title="Test">
      <form class="panel stack" onSubmit={submit}>
        <div class="fields roomy">
          <Field label="Payload of an old run">
            {(attributes) => (
              <select
                {...attributes}
                value={prefill.run}
                disabled={runs.length === 0 || fill.isBusy}
                onChange={(event) => void fill.run(event.currentTarget.value)}
              >
                <option value="">{runs.length === 0 ? 'There are no runs yet' : 'Choose a run …'}</option>
                {runs.map((run) => (
                  <option key={run.id} value={run.id}>
                    {shortId(run.id)} {statusWord(run.status).toLowerCase()}
                  </option>
                ))}
              </select>
            )}
          </Field>
          <SelectField label="Version" value={version} onChange={setVersion} options={versions.options} />
        </div>
        <EditorField
          key={prefill.run}
          label="Payload"
          initial={prefill.text}
          onInput={setPayload}
          schema={versions.schema}
          note={complaint ?? noteOf(versions)}
          isWrong={complaint !== undefined}
        />
        <More title="Metadata, tags, queue and other options">
          <EditorField
            label="Metadata"
            initial=""
            onInput={setMetadata}
            note={metadataComplaint}
            isWrong={metadataComplaint !== undefined}
          />
          <RunOptions
            empty={{ queue: 'the task’s own', concurrencyKey: 'none', machine: 'as the task says' }}
            values={options}
            onChange={(changes) => setOptions({ ...options, ...changes })}
          />
        </More>
        <label class="row">
          <input type="checkbox" checked={isTest} onChange={(event) => setTest(event.currentTarget.checked)} />
          Mark the run as a test
        </label>
        <Refusal error={action.error} />
        <div class="actions">
          <button class="primary" disabled={action.isBusy || complaint !== undefined || metadataComplaint !== undefined}>
            {action.isBusy ? 'Triggering …' : 'Trigger'}
          </button>
        </div>
      </form>
      {isAsking && (
        <Confirm
          title={`Trigger ${id} in production?`}
          verb="Trigger"
          isDangerous
          typed={id}
          run={trigger}
          onClose={() => setAsking(false)}
        >
          <p>The run has all its effects. Marking it as a test does not change what it does.</p>
        </Confirm>
      )}
    </Section>
  );
}
