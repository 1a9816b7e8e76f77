export type State = "connecting" | "open" | "waiting" | "closed";

export interface Options {
  /** EventSource instead of WebSocket. */
  sse?: boolean;
  /** The names of events to receive; only EventSource needs them. */
  events?: string[];
  /** Resume after this event, as of an earlier page. */
  lastId?: string;
  /** The first wait before a reconnect is random, up to this many milliseconds; it doubles each time. 1,000 by default. */
  firstRetry?: number;
  /** The longest wait, in milliseconds. A connection that lasted longer than this starts again at `firstRetry`. 30,000 by default. */
  lastRetry?: number;
  /** So many messages wait for a connection. 64 by default. */
  maxQueued?: number;
  /** With more unsent bytes than this in the browser, `send` refuses. 1,000,000 by default. */
  maxBuffered?: number;
  /** An event without a name; an ArrayBuffer if it was sent as binary. */
  onmessage?: (data: string | ArrayBuffer, id?: string) => void;
  /** An event with a name. */
  onevent?: (name: string, data: string, id?: string) => void;
  /** Events of this group were missed for good: what comes next is all that the server has kept. */
  ongap?: (group: string) => void;
  onstate?: (state: State, cause?: Event) => void;
}

export interface Link extends Options {
  readonly state: State;
  /** False if the message was not taken: closed, too much unsent, or EventSource. */
  send(data: string | ArrayBuffer | ArrayBufferView | Blob): boolean;
  /** Ends the connection for good. */
  close(): void;
}

/** Connects, and reconnects until `close`. Throws if the address is no URL. */
export function connect(address: string | URL, options?: Options): Link;
