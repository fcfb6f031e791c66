import type { Picked } from '../runs/Actions'; export function BacktestDialog(_: { picked: Picked; onClose: () => void }) { return null; }
