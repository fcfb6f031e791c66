// A run beside its replay: one in the sandbox, which is done again whenever the page asks, because it
// has no effect; or one that was live, of which two runs are left to compare.

import { get, post } from '../../api/client';
import type { ReplayEnd, ReplayReport, RunDetails } from '../../api/types';
import { query } from '../../core/router';
import { useQuery } from '../../core/query';
import { changeRules, useRules, withRule } from '../../core/rules';
import { environment, pathIn } from '../../core/session';
import { toast } from '../../core/toast';
import { shortId } from '../../core/format';
import { SelectField } from '../../ui/Field';
import { Page, Section } from '../../ui/Page';
import { Empty, Loaded } from '../../ui/states';
import { Verdict, verdictText } from '../../ui/Verdict';
import { setQuery } from '../../core/router';
import { editedReport } from '../replay/request';
import { useVersions } from '../replay/versions';
import { ComparisonView, type OnIgnore } from './ComparisonView';
import { endOf } from './ends';
import { LiveComparison } from './LiveComparison';
import { RulesPanel } from './RulesPanel';
import '../../styles/compare.css';

type SandboxMode = 'sandbox' | 'shadow';

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

function Sandboxed({ run, mode }: { run: RunDetails; mode: SandboxMode }) {
  const slug = environment.value?.slug;
  const version = query.value.get('version') ?? '';
  const isEdited = query.value.get('payload') === 'edited';
  const edited = isEdited ? editedReport(run.id) : undefined;
  const rules = useRules();
  const versions = useVersions(slug ?? '', run.taskIdentifier, version);
  const found = useQuery(
    isEdited || !rules.data ? undefined : slug && `${slug}/replay/${run.id}/${mode}/${version}/${rules.data.updatedAt}`,
    async (signal) => {
      const body = { mode, ...(version ? { version } : {}) };
      const answer = await post('/api/v1/runs/{run}/replay', { path: { run: run.id }, bodyText: JSON.stringify(body), signal });
      if (!('verdict' in answer)) throw new Error('A replay in the sandbox made a run.');
      return answer as ReplayReport;
    },
    { keepsOld: true },
  );
  const ignore: OnIgnore = (list, entry) => {
    changeRules(run.taskIdentifier, (own) => withRule(own, list, entry)).then(
      () => toast('The rule was saved; the replay is compared again.'),
      (error: Error) => toast(error.message, 'error'),
    );
  };
  if (isEdited) {
    if (edited) return <Report report={edited} source={run} />;
    return (
      <Empty title="This replay had an edited payload">
        <p>
          It was not kept over the reload. Go back to <a href={pathIn('runs', run.id)}>the run</a> and replay it again.
        </p>
      </Empty>
    );
  }
  return (
    <>
      <div class="compare-options">
        <SelectField
          label="Version"
          value={version}
          options={versions.options}
          onChange={(to) => setQuery({ version: to }, true)}
        />
        <button type="button" onClick={found.reload}>
          Replay again
        </button>
      </div>
      {rules.data ? (
        <Loaded query={found}>{(report) => <Report report={report} source={run} onIgnore={ignore} />}</Loaded>
      ) : (
        <Loaded query={rules}>{() => null}</Loaded>
      )}
      <RulesPanel task={run.taskIdentifier} />
    </>
  );
}

interface ReportProps {
  report: ReplayReport;
  source: RunDetails;
  onIgnore?: OnIgnore;
}

function Report({ report, source, onIgnore }: ReportProps) {
  const { now } = report;
  const whole = now && !now.outputIsCut ? { then: endOf(source), now: endOf(now) } : undefined;
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
