// A run beside its replay: one in the sandbox, of which this tab keeps the report and which can be done
// again, because it has no effect; or one that was live, of which two runs are left to compare.

import { useEffect } from 'preact/hooks';
import { get } from '../../api/client';
import type { ReplayEnd, ReplayReport, RunDetails, SourceEnd } from '../../api/types';
import { useAction, type Action } from '../../core/action';
import { useQuery } from '../../core/query';
import { query, setQuery } from '../../core/router';
import { changeRules, withRule } from '../../core/rules';
import { environment, pathIn } from '../../core/session';
import { toast } from '../../core/toast';
import { shortId } from '../../core/format';
import { SelectField } from '../../ui/Field';
import { Page, Section } from '../../ui/Page';
import { Empty, Failure, Loaded, Loading } from '../../ui/states';
import { Verdict, verdictText } from '../../ui/Verdict';
import { keyOf, replayInSandbox, reportOf, type Asked, type SandboxMode } from '../replay/reports';
import { useVersions } from '../replay/versions';
import { ComparisonView, type OnIgnore } from './ComparisonView';
import { endOf } from './ends';
import { LiveComparison } from './LiveComparison';
import { RulesPanel } from './RulesPanel';
import '../../styles/compare.css';

export function ComparePage({ id, replay }: { id: string; replay: string }) {
  const slug = environment.value?.slug;
  const source = useQuery(slug && `${slug}/run/${id}`, (signal) => get('/api/v3/runs/{run}', { path: { run: id }, signal }));
  const isSandboxed = replay === 'sandbox' || replay === 'shadow';
  return (
    <Page
      title={isSandboxed ? `Replay in the ${replay === 'sandbox' ? 'sandbox' : 'shadow'}` : 'Comparison'}
      up={[pathIn('runs', id), `${source.data?.taskIdentifier ?? 'Run'} ${shortId(id)}`]}
    >
      <Loaded query={source}>
        {(run) => (isSandboxed ? <Sandboxed run={run} mode={replay} /> : <LiveComparison source={run} replay={replay} />)}
      </Loaded>
    </Page>
  );
}

interface SandboxedProps {
  run: RunDetails;
  mode: SandboxMode;
}

function Sandboxed({ run, mode }: SandboxedProps) {
  const asked = askedFor(run.id, mode);
  const report = reportOf(asked);
  const isReplayable = report !== undefined || !asked.isEdited;
  const again = useAction(() => replayInSandbox(asked), true);
  useEffect(() => {
    again.clear();
    // In the shadow, requests go out: an address alone must not send any.
    if (mode === 'sandbox' && !asked.isEdited && !report) void again.run();
  }, [keyOf(asked)]);
  const judgeAgain = () => {
    if (mode === 'sandbox' && isReplayable) void again.run();
    else toast('The rules count when it is replayed again.');
  };
  const ignore: OnIgnore = (list, entry) => {
    changeRules(run.taskIdentifier, (own) => withRule(own, list, entry)).then(
      () => {
        toast('The rule was saved.');
        judgeAgain();
      },
      (error: Error) => toast(error.message, 'error'),
    );
  };
  return (
    <>
      {isReplayable && <Options asked={asked} task={run.taskIdentifier} again={again} />}
      {again.error && <Failure text={again.error.message} retry={() => void again.run()} />}
      {report ? (
        <Report report={report} source={run} onIgnore={ignore} />
      ) : asked.isEdited ? (
        <NotKept run={run.id} />
      ) : mode === 'shadow' && !again.isBusy ? (
        <Empty title="Not replayed yet">
          <p>Reading requests (GET, HEAD) that the recording does not answer go out when you replay it.</p>
        </Empty>
      ) : (
        !again.error && <Loading />
      )}
      {isReplayable && <RulesPanel task={run.taskIdentifier} onSaved={judgeAgain} />}
    </>
  );
}

function askedFor(run: string, mode: SandboxMode): Asked {
  const of = (name: string) => query.value.get(name) ?? '';
  return { run, mode, version: of('version'), environment: of('environment'), isEdited: of('payload') === 'edited' };
}

function NotKept({ run }: { run: string }) {
  return (
    <Empty title="This replay had an edited payload">
      <p>
        It was not kept over the reload. Go back to <a href={pathIn('runs', run)}>the run</a> and replay it again.
      </p>
    </Empty>
  );
}

interface OptionsProps {
  asked: Asked;
  task: string;
  again: Action<[]>;
}

function Options({ asked, task, again }: OptionsProps) {
  const versions = useVersions(asked.environment || (environment.value?.slug ?? ''), task, asked.version);
  return (
    <div class="compare-options">
      {!asked.isEdited && (
        <SelectField
          label={asked.environment ? `Version in ${asked.environment}` : 'Version'}
          value={asked.version}
          options={versions.options}
          onChange={(to) => setQuery({ version: to }, true)}
        />
      )}
      <button type="button" disabled={again.isBusy} onClick={() => void again.run()}>
        {again.isBusy ? 'Replaying …' : reportOf(asked) ? 'Replay again' : 'Replay'}
      </button>
    </div>
  );
}

interface ReportProps {
  report: ReplayReport;
  source: RunDetails;
  onIgnore: OnIgnore;
}

function Report({ report, source, onIgnore }: ReportProps) {
  const { now, then = source as SourceEnd } = report;
  const whole = now && !now.outputIsCut && !then.outputIsCut ? { then: endOf(then), now: endOf(now) } : undefined;
  return (
    <>
      <div class="verdict-line">
        <Verdict of={report.verdict} />
        <span>{report.note ?? verdictText(report.verdict)}</span>
        <span class="faint">Version {report.version}</span>
      </div>
      {report.comparison ? (
        <ComparisonView comparison={report.comparison} whole={whole} onIgnore={onIgnore} />
      ) : (
        <Section title="Nothing to compare">
          <p>{report.note ?? 'The server gave no comparison.'}</p>
        </Section>
      )}
      {now && now.logs.length > 0 && <ReplayLogs of={now} />}
    </>
  );
}

/** What the replay logged; lines of a replay have no time of their own. */
function ReplayLogs({ of }: { of: ReplayEnd }) {
  return (
    <Section title="Log of the replay">
      <ol class="panel replay-log" tabIndex={0} aria-label="Log of the replay">
        {of.logs.map((line, place) => (
          <li key={place} class={`level-${line.level}`}>
            <span class="log-level">{line.level}</span> {line.message}
          </li>
        ))}
      </ol>
      {of.logsAreCut && <p class="faint">Its first lines; it has written more.</p>}
    </Section>
  );
}
