// The question before the same is done to many runs.

import { post } from '../../api/client';
import { counted } from '../../core/format';
import { navigate } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { Confirm } from '../../ui/Dialog';
import type { Picked } from './Actions';
import { useCount } from './AllCount';
import { bulkFilter, describe } from './filter';

interface BulkDialogProps {
  action: 'replay' | 'cancel';
  picked: Picked;
  onClose: () => void;
}

export function BulkDialog({ action, picked, onClose }: BulkDialogProps) {
  const number = useCount('all' in picked ? picked.all : undefined);
  const which = 'all' in picked ? `all runs that match: ${describe(picked.all)}` : counted(picked.runs.length, 'run');
  const isReplay = action === 'replay';
  const isProduction = environment.value?.type === 'PRODUCTION';
  const create = async () => {
    const selection = 'all' in picked ? { filter: bulkFilter(picked.all) } : { runIds: picked.runs.map((run) => run.id) };
    const made = await post('/api/v1/bulk-actions', {
      body: { action, ...selection, name: `${isReplay ? 'Replay' : 'Cancel'} ${which}`.slice(0, 255) },
    });
    navigate(pathIn('bulk', made.id));
    return undefined;
  };
  return (
    <Confirm
      title={isReplay ? 'Replay these runs?' : 'Cancel these runs?'}
      verb={isReplay ? 'Replay' : 'Cancel the runs'}
      isDangerous={!isReplay || isProduction}
      {...(isProduction ? { typed: environment.value?.slug ?? '' } : {})}
      run={create}
      onClose={onClose}
    >
      <p>
        It is for {which}
        {number && ` (now ${number})`}, in <b>{environment.value?.slug}</b>.
      </p>
      <p class="faint">
        {isReplay
          ? 'Each becomes a new run with the old payload on the current version, with all its effects: mails are sent again. To try a version without effects, choose Backtest instead.'
          : 'Those that have not ended are stopped; those that have stay as they are.'}
      </p>
    </Confirm>
  );
}
