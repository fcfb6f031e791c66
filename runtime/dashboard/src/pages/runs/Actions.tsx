// What can be done with picked runs, from the keyboard and from the bar that shows how many are
// picked. One run goes to its own dialog; several, or all that match, become a bulk action.

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import type { RunCommon } from '../../api/types';
import { lazy } from '../../core/lazy';
import { useShortcuts } from '../../core/shortcuts';
import { Icon } from '../../ui/Icon';
import { BulkDialog } from './BulkDialog';
import { CancelDialog } from './CancelDialog';
import type { Filter } from './filter';

const ReplayDialog = lazy(async () => (await import('../replay/ReplayDialog')).ReplayDialog, null);
const BacktestDialog = lazy(async () => (await import('../backtests/BacktestDialog')).BacktestDialog, null);

/** These runs, or all that meet the conditions. */
export type Picked = { runs: readonly RunCommon[] } | { all: Filter };

type Verb = 'replay' | 'cancel' | 'backtest';

interface ActionsProps {
  picked: Picked;
  /** Whether the bar is shown; the keyboard works in any case. */
  isShown: boolean;
  onDone: () => void;
  children: ComponentChildren;
}

export function Actions({ picked, isShown, onDone, children }: ActionsProps) {
  const [open, setOpen] = useState<{ verb: Verb; picked: Picked }>();
  const start = (verb: Verb) => () => {
    if ('all' in picked || picked.runs.length > 0) setOpen({ verb, picked });
  };
  useShortcuts('List', {
    r: ['Replay', start('replay')],
    c: ['Cancel', start('cancel')],
    b: ['Backtest', start('backtest')],
  });
  return (
    <>
      {isShown && (
        <div class="action-bar" role="toolbar" aria-label="Selected runs">
          <span class="row">{children}</span>
          <span class="actions">
            <button type="button" onClick={start('replay')}>
              <Icon name="replay" />
              Replay
            </button>
            <button type="button" onClick={start('cancel')}>
              <Icon name="cancel" />
              Cancel
            </button>
            <button type="button" onClick={start('backtest')}>
              <Icon name="backtests" />
              Backtest
            </button>
            <button type="button" class="quiet" aria-label="Select nothing" onClick={onDone}>
              <Icon name="close" />
            </button>
          </span>
        </div>
      )}
      {open && <ActionDialog {...open} onClose={() => setOpen(undefined)} />}
    </>
  );
}

function ActionDialog({ verb, picked, onClose }: { verb: Verb; picked: Picked; onClose: () => void }) {
  const one = 'runs' in picked && picked.runs.length === 1 ? picked.runs[0] : undefined;
  switch (verb) {
    case 'replay':
      return one ? (
        <ReplayDialog id={one.id} onClose={onClose} />
      ) : (
        <BulkDialog action="replay" picked={picked} onClose={onClose} />
      );
    case 'cancel':
      return one ? (
        <CancelDialog run={one} onClose={onClose} />
      ) : (
        <BulkDialog action="cancel" picked={picked} onClose={onClose} />
      );
    case 'backtest':
      return <BacktestDialog picked={picked} onClose={onClose} />;
  }
}
