// The list of runs: live, filtered by what is in the address, and the place where many runs are
// picked for a replay, a cancellation or a backtest.

import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiFailure } from '../../api/client';
import type { RunCommon } from '../../api/types';
import { count, counted } from '../../core/format';
import { query, setQuery } from '../../core/router';
import { useShortcuts } from '../../core/shortcuts';
import { Icon } from '../../ui/Icon';
import { Page } from '../../ui/Page';
import { useSelection, type Selection } from '../../ui/selection';
import { Empty, Failure, Loading } from '../../ui/states';
import { Actions, type Picked } from './Actions';
import { AllCount } from './AllCount';
import { FilterBar } from './FilterBar';
import { filterOf } from './filter';
import { useLiveRuns, type LiveRuns } from './live';
import { RunsTable } from './RunsTable';
import '../../styles/runs.css';

export function RunsPage() {
  const filter = filterOf(query.value);
  const cursor = { after: query.value.get('after'), before: query.value.get('before') };
  const live = useLiveRuns(filter, cursor);
  const rows = live.rows ?? [];
  const selection = useSelection(rows.map((run) => run.id));
  const [isAll, setAll] = useState(false);
  const [atRow, setAtRow] = useState<RunCommon>();
  const address = JSON.stringify(filter);
  useEffect(() => {
    selection.clear();
    setAll(false);
  }, [address]);
  useEffect(() => {
    if (selection.keys.size === 0) setAll(false);
  }, [selection.keys.size]);
  const pickAll = () => {
    selection.set(rows.map((run) => run.id));
    setAll(true);
  };
  useShortcuts('List', {
    a: ['Select all that match, also on other pages', pickAll],
    Escape: ['Select nothing', selection.clear],
    n: ['Show new runs', live.showNews],
  });
  // Whoever turns a row on or off speaks of rows again, no longer of all that match.
  const rowSelection = {
    ...selection,
    pick: (key: string, isRange: boolean) => {
      setAll(false);
      selection.pick(key, isRange);
    },
  };
  const runs = usePickedRuns(selection, rows);
  const picked: Picked = isAll ? { all: filter } : { runs };
  const isPicked = selection.keys.size > 0;
  const elsewhere = runs.length - rows.filter((run) => selection.has(run.id)).length;
  const isPaged = Boolean(live.pagination.next || live.pagination.previous);
  const isFiltered = Object.keys(filter).length > 0;
  return (
    <Page title="Runs">
      <FilterBar />
      {live.error && <Failure text={live.error.message} details={detailsOf(live.error)} retry={live.reload} />}
      {!live.rows && !live.error && <Loading rows={12} />}
      {live.rows && rows.length === 0 && (
        <NoRuns isFiltered={isFiltered} hasOlder={Boolean(live.pagination.next)} hasNewer={Boolean(live.pagination.previous)} />
      )}
      {rows.length > 0 && (
        <>
          <News live={live} isFirstPage={!cursor.after && !cursor.before} />
          <RunsTable label="Runs" runs={rows} selection={rowSelection} gone={live.gone} keyboard="List" onFocusRow={setAtRow} />
        </>
      )}
      {(rows.length > 0 || isPaged) && <Pages live={live} />}
      <Actions picked={isPicked ? picked : { runs: atRow ? [atRow] : [] }} isShown={isPicked} onDone={selection.clear}>
        {isAll ? <AllCount filter={filter} /> : `${count(runs.length)} selected`}
        {!isAll && elsewhere > 0 && <span class="faint">{count(elsewhere)} of them on other pages</span>}
        {!isAll && (selection.keys.size < rows.length || isPaged) && (
          <button type="button" class="quiet" onClick={pickAll}>
            Select all that match
          </button>
        )}
      </Actions>
    </Page>
  );
}

/** The picked runs, also those that the page no longer shows. */
function usePickedRuns(selection: Selection, rows: readonly RunCommon[]): RunCommon[] {
  const known = useRef(new Map<string, RunCommon>());
  const all = new Map([...known.current, ...rows.map((run) => [run.id, run] as const)]);
  const picked = [...selection.keys].map((id) => all.get(id)).filter((run) => run !== undefined);
  known.current = new Map(picked.map((run) => [run.id, run]));
  return picked;
}

function detailsOf(error: Error): readonly string[] {
  return error instanceof ApiFailure ? error.details : [];
}

function News({ live, isFirstPage }: { live: LiveRuns; isFirstPage: boolean }) {
  return (
    <div class="news">
      <Announcement text={isFirstPage && live.news > 0 ? 'There are new runs' : ''} />
      {isFirstPage && live.news > 0 && (
        <button type="button" onClick={live.showNews}>
          <Icon name="plus" />
          {counted(live.news, 'new run')}
          {live.hasMoreNews && ' and more'}
        </button>
      )}
      {live.gone.size > 0 && (
        <button type="button" onClick={live.showNews}>
          {counted(live.gone.size, 'run no longer fits', 'runs no longer fit')}
        </button>
      )}
    </div>
  );
}

/** Read out where it changes, and once only: not each time that a number does. */
function Announcement({ text }: { text: string }) {
  return (
    <span class="visually-hidden" role="status">
      {text}
    </span>
  );
}

function Pages({ live }: { live: LiveRuns }) {
  const { next, previous } = live.pagination;
  const go = (place: { after?: string | undefined; before?: string | undefined }) => {
    setQuery({ after: place.after, before: place.before });
    window.scrollTo(0, 0);
  };
  useShortcuts('List', {
    ']': ['Older runs', () => next && go({ after: next })],
    '[': ['Newer runs', () => previous && go({ before: previous })],
  });
  return (
    <div class="below">
      <span class="faint">{counted(live.rows?.length ?? 0, 'run')} on this page, newest first</span>
      <span class="actions">
        <button type="button" disabled={!previous} onClick={() => go({ before: previous })}>
          Newer
        </button>
        <button type="button" disabled={!next} onClick={() => go({ after: next })}>
          Older
        </button>
      </span>
    </div>
  );
}

interface NoRunsProps {
  isFiltered: boolean;
  hasOlder: boolean;
  hasNewer: boolean;
}

function NoRuns({ isFiltered, hasOlder, hasNewer }: NoRunsProps) {
  if (hasOlder) {
    return (
      <Empty title="None found so far">
        <p>There are too many runs to look through at once. Choose “Older” to look further back, or a shorter time.</p>
      </Empty>
    );
  }
  if (hasNewer) return <Empty title="No older run meets these conditions" />;
  if (isFiltered) {
    return (
      <Empty title="No run meets these conditions">
        <p>Remove one of them. New runs that fit will appear here by themselves.</p>
      </Empty>
    );
  }
  return (
    <Empty title="No runs yet">
      <p>Deploy a component and trigger one of its tasks; the run appears here at once.</p>
      <pre>{'dacapo deploy task.wasm\ndacapo trigger <task> \'{"name": "Ada"}\''}</pre>
    </Empty>
  );
}
