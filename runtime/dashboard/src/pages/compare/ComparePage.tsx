// A run beside its replay: one in the sandbox, which is done again whenever the page asks, because it
// has no effect; or one that was live, of which two runs are left to compare.

import { get, post } from '../../api/client';
import type { ReplayReport, RunDetails } from '../../api/types';
import { query } from '../../core/router';
import { useQuery } from '../../core/query';
import { storedRules, storeRules, withRule } from '../../core/rules';
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
  const rules = storedRules();
  const versions = useVersions(slug ?? '', run.taskIdentifier, version);
  const found = useQuery(
    isEdited ? undefined : slug && `${slug}/replay/${run.id}/${mode}/${version}/${JSON.stringify(rules)}`,
    async (signal) => {
      const body = { mode, options: { rules }, ...(version ? { version } : {}) };
      const answer = await post('/api/v1/runs/{run}/replay', { path: { run: run.id }, bodyText: JSON.stringify(body), signal });
      if (!('verdict' in answer)) throw new Error('A replay in the sandbox made a run.');
      return answer;
    },
    { keepsOld: true },
  );
  const own = rules[run.taskIdentifier] ?? {};
  const save = (changed: typeof own) => {
    storeRules(run.taskIdentifier, changed);
    toast('The rules were saved.');
  };
  const ignore: OnIgnore = (list, entry) => save(withRule(own, list, entry));
  if (isEdited) {
    if (edited) return <Report report={edited} />;
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
      <Loaded query={found}>{(report) => <Report report={report} onIgnore={ignore} />}</Loaded>
      <RulesPanel task={run.taskIdentifier} rules={own} onSave={save} />
    </>
  );
}

function Report({ report, onIgnore }: { report: ReplayReport; onIgnore?: OnIgnore }) {
  return (
    <>
      <div class="verdict-line">
        <Verdict of={report.verdict} />
        <span>{report.note ?? verdictText(report.verdict)}</span>
        <span class="faint">Version {report.version}</span>
      </div>
      {report.comparison ? (
        <ComparisonView comparison={report.comparison} onIgnore={onIgnore} />
      ) : (
        <Section title="Nothing to compare">
          <p>{report.note ?? 'The server gave no comparison.'}</p>
        </Section>
      )}
    </>
  );
}
