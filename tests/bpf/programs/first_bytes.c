// Counts how often each first byte was seen, and returns the count: a map, a null check, a packet
// bound, a loop and a subprogram, as small as a program with all of them can be.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))

struct buffer {
  const u8 *data;
  const u8 *data_end;
};

static void *(*map_lookup)(void *map, const void *key) = (void *)1;

struct {
  int (*type)[2];  // An array.
  int (*max_entries)[256];
  u32 *key;
  u64 *value;
} seen SEC(".maps");

static __attribute__((noinline)) u32 mix(u32 sum, u8 byte) { return (sum << 5) - sum + byte; }

SEC("buffer")
int first_bytes(struct buffer *buffer) {
  const u8 *data = buffer->data;
  if (data + 8 > buffer->data_end) return -1;
  u32 sum = 0;
  for (int i = 0; i < 8; i++) sum = mix(sum, data[i]);
  u32 key = data[0];
  u64 *count = map_lookup(&seen, &key);
  if (!count) return -1;
  *count += 1;
  return (int)(*count + (sum & 1));
}
