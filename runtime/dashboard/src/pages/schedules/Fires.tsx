// When a schedule fires next.

import { get } from '../../api/client';
import type { ScheduleItem } from '../../api/types';
import { moment, relative } from '../../core/format';
import { now } from '../../core/clock';
import { useQuery } from '../../core/query';
import { environment } from '../../core/session';
import { Dialog } from '../../ui/Dialog';
import { Loaded } from '../../ui/states';

/** A schedule with its next times, which lists leave out. */
export async function readSchedule(id: string, signal?: AbortSignal): Promise<ScheduleItem> {
  return get('/api/v1/schedules/{schedule}', { path: { schedule: id }, ...(signal ? { signal } : {}) });
}

export function Fires({ schedule, onClose }: { schedule: ScheduleItem; onClose: () => void }) {
  const found = useQuery(`${environment.value?.slug}/schedule/${schedule.id}`, (signal) => readSchedule(schedule.id, signal));
  return (
    <Dialog title={`Next times of ${schedule.task}`} onClose={onClose}>
      <div class="stack">
        <p>
          <code>{schedule.generator.expression}</code> in {schedule.timezone}
          {schedule.generator.description && <span class="faint">, {schedule.generator.description}</span>}
        </p>
        <Loaded query={found}>
          {(item) => (
            <ol class="fires">
              {(item.upcoming ?? []).map((at) => (
                <li key={at}>
                  <time dateTime={at}>{moment(Date.parse(at))}</time>
                  <span class="faint">{relative(Date.parse(at), now.value)}</span>
                </li>
              ))}
            </ol>
          )}
        </Loaded>
      </div>
    </Dialog>
  );
}
