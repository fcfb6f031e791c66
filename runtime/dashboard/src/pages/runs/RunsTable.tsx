// Runs as rows, wherever a list of them is shown.

import type { RunCommon, RunItem } from '../../api/types';
import { shortId } from '../../core/format';
import { pathIn } from '../../core/session';
import { Icon } from '../../ui/Icon';
import type { Selection } from '../../ui/selection';
import { Status } from '../../ui/Status';
import { Table, type Column } from '../../ui/Table';
import { Elapsed, Time } from '../../ui/Time';

/** A run of a list; what only some lists know may be missing. */
type ListedRun = RunCommon & Pick<Partial<RunItem>, 'error'>;

const COLUMNS: Column<ListedRun>[] = [
  { title: 'Task', cell: (run) => run.taskIdentifier },
  { title: 'Status', cell: (run) => <Status of={run.status} /> },
  {
    title: 'Run',
    cell: (run) => (
      <span class="run-cell">
        <code class="faint" title={run.id}>
          {shortId(run.id)}
        </code>
        <Marks run={run} />
      </span>
    ),
  },
  {
    title: 'Tags and error',
    cell: (run) => (
      <>
        <Tags tags={run.tags} />
        {run.error && !run.isSuccess && (
          <span class="faint" title={run.error.message}>
            {run.error.name} {run.error.message}
          </span>
        )}
      </>
    ),
    isWide: true,
  },
  { title: 'Version', cell: (run) => <span class="faint">{run.version}</span> },
  { title: 'Triggered', cell: (run) => <Time at={run.createdAt} /> },
  { title: 'Took', cell: (run) => <Elapsed from={run.startedAt} to={run.finishedAt} />, isNumber: true },
];

export function Marks({ run }: { run: RunCommon }) {
  return (
    <>
      {run.isReplay && (
        <span class="mark" title={run.replayedFrom ? `Replays ${run.replayedFrom}` : 'Part of a replay'}>
          <Icon name="replay" />
          replay
        </span>
      )}
      {run.isTest && <span class="mark">test</span>}
    </>
  );
}

/** Tags are links to the runs that carry them. */
export function Tags({ tags }: { tags: readonly string[] }) {
  return (
    <>
      {tags.map((tag) => (
        <a key={tag} class="tag" href={`${pathIn('runs')}?tag=${encodeURIComponent(tag)}`} title={tag}>
          {tag}
        </a>
      ))}
    </>
  );
}

interface RunsTableProps {
  label: string;
  runs: readonly ListedRun[];
  selection?: Selection;
  /** Runs that are shown although they no longer fit. */
  gone?: ReadonlySet<string>;
  keyboard?: string;
  onFocusRow?: (run: RunCommon | undefined) => void;
}

export function RunsTable(props: RunsTableProps) {
  return (
    <Table
      {...props}
      columns={COLUMNS}
      rows={props.runs}
      keyOf={(run) => run.id}
      isFaded={(run) => props.gone?.has(run.id) ?? false}
      linkOf={(run) => pathIn('runs', run.id)}
      nameOf={(run) => `${run.taskIdentifier} ${run.id}`}
    />
  );
}
