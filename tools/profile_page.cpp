#include "tools/profile_page.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "base/size_text.h"
#include "tools/line_chart.h"

namespace leafcutter::tools {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kStyle = R"(body{font:15px/1.5 Helvetica,Arial,sans-serif;margin:2em auto;max-width:70em;color:#1a202c;padding:0 1em}
table{border-collapse:collapse;margin:.5em 0 1.5em}th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid #e2e8f0}th:first-child,td:first-child{text-align:left}td{white-space:nowrap}
canvas{width:100%;height:440px;border:1px solid #cbd5e0;cursor:grab}#tip{position:fixed;background:#1a202c;color:#fff;padding:.25em .6em;border-radius:4px;font-size:13px;pointer-events:none;display:none}
.bar{display:inline-block;height:.8em;background:#2b6cb0;vertical-align:baseline}.key span{display:inline-block;margin-right:1.2em}.key i{display:inline-block;width:.9em;height:.9em;margin-right:.4em;border-radius:2px}
p.small{color:#4a5568;font-size:13px})";

// Events are [kind, lane, begin, end, text index] in microseconds; only what is visible is drawn.
constexpr const char* kScript = R"(
const kinds=DATA.kinds,colours=['#2b6cb0','#2f855a','#c53030','#dd6b20','#d69e2e','#718096','#6b46c1','#319795','#b83280','#4a5568','#a0aec0','#2c5282','#63b3ed','#38a169','#b7791f'];
const canvas=document.getElementById('timeline'),tip=document.getElementById('tip'),ctx=canvas.getContext('2d');
const rows=[['steps',[9,10]],['modules',[5,6,7,8]],['waits',[2,3,4]]];if(DATA.onDevice)rows.push(['device',[13]],['host',[14]],['link down',[11]],['link up',[12]]);rows.push(['checks',[1]]);
const lanes=rows.length;for(let i=0;i<DATA.readLanes;i++)rows.push(['disk '+(i+1),[0],i]);
const rowOf=e=>{if(e[0]===0)return lanes+e[1];for(let r=0;r<lanes;r++)if(rows[r][1].includes(e[0]))return r;return 0};
const left=80,total=DATA.end;let from=DATA.view[0],to=DATA.view[1],hits=[];
function draw(){const w=canvas.clientWidth,h=canvas.clientHeight,d=devicePixelRatio||1;canvas.width=w*d;canvas.height=h*d;ctx.scale(d,d);ctx.clearRect(0,0,w,h);
const rh=(h-24)/rows.length,scale=(w-left)/(to-from);hits=[];ctx.font='12px Helvetica,Arial';ctx.textBaseline='middle';
rows.forEach((r,i)=>{ctx.fillStyle=i%2?'#f7fafc':'#fff';ctx.fillRect(0,i*rh,w,rh);ctx.fillStyle='#2d3748';ctx.fillText(r[0],6,i*rh+rh/2)});
const last=new Float64Array(rows.length).fill(-1);
for(const e of DATA.events){if(e[3]<from||e[2]>to)continue;const r=rowOf(e),x0=left+Math.max(0,(e[2]-from)*scale),x1=left+Math.min(w-left,(e[3]-from)*scale);
const px=Math.max(x1-x0,.6);if(x1<=last[r]+.3&&px<1)continue;last[r]=x1;ctx.fillStyle=colours[e[0]];ctx.fillRect(x0,r*rh+2,px,rh-4);if(px>2)hits.push([x0,x1,r,e]);
if(px>60&&r<2){ctx.fillStyle='#fff';ctx.save();ctx.beginPath();ctx.rect(x0,r*rh,px,rh);ctx.clip();ctx.fillText(DATA.texts[e[4]],x0+5,r*rh+rh/2);ctx.restore()}}
ctx.fillStyle='#4a5568';ctx.strokeStyle='#cbd5e0';const span=to-from,step=Math.pow(10,Math.floor(Math.log10(span/4)))*[1,2,5].find(f=>span/4<f*2*Math.pow(10,Math.floor(Math.log10(span/4)))||f===5);
for(let t=Math.ceil(from/step)*step;t<=to;t+=step){const x=left+(t-from)*scale;ctx.beginPath();ctx.moveTo(x,0);ctx.lineTo(x,h-20);ctx.stroke();ctx.fillText((t/1000).toFixed(step<1000?2:0)+' ms',x+3,h-10)}}
canvas.onwheel=e=>{e.preventDefault();const r=canvas.getBoundingClientRect(),at=from+(e.clientX-r.left-left)/(r.width-left)*(to-from),f=e.deltaY>0?1.25:.8;from=Math.max(0,at-(at-from)*f);to=Math.min(total,at+(to-at)*f);if(to-from<1)to=from+1;draw()};
let drag=null;canvas.onmousedown=e=>{drag=[e.clientX,from,to]};window.onmouseup=()=>{drag=null};
canvas.onmousemove=e=>{const r=canvas.getBoundingClientRect();if(drag){const move=(e.clientX-drag[0])/(r.width-left)*(drag[2]-drag[1]),size=drag[2]-drag[1];from=Math.max(0,Math.min(total-size,drag[1]-move));to=from+size;draw();return}
const x=e.clientX-r.left,y=e.clientY-r.top,rh=(r.height-24)/rows.length,hit=hits.find(h=>x>=h[0]&&x<=h[1]&&Math.floor(y/rh)===h[2]);
if(!hit){tip.style.display='none';return}tip.textContent=kinds[hit[3][0]]+': '+DATA.texts[hit[3][4]]+', '+((hit[3][3]-hit[3][2])/1000).toFixed(3)+' ms';tip.style.display='block';tip.style.left=e.clientX+14+'px';tip.style.top=e.clientY+14+'px'};
canvas.onmouseleave=()=>{tip.style.display='none'};document.getElementById('all').onclick=()=>{from=0;to=total;draw()};window.onresize=draw;draw();
document.getElementById('key').innerHTML=kinds.map((k,i)=>!DATA.onDevice&&i>10?'':'<span><i style="background:'+colours[i]+'"></i>'+k+'</span>').join('');
)";

std::string share_cell(double part, double whole) {
  const double share = whole > 0 ? std::min(1.0, part / whole) : 0;
  return fmt::format("<td><span class=\"bar\" style=\"width:{:.1f}em\"></span> {:.0f} %</td>", share * 5, share * 100);
}

// A lane of a phase: busy seconds under this name, where there are any.
struct Lane {
  const char* title;
  const char* seconds;
};

std::vector<Lane> busy_lanes(bool on_device) {
  if (!on_device) return {{"disk busy", "disk_s"}, {"checks busy", "check_s"}, {"compute busy", "compute_s"}};
  return {{"disk to host busy", "disk_s"}, {"checks busy", "check_s"},   {"host to device busy", "link_s"},
          {"back busy", "link_up_s"},      {"device busy", "compute_s"}, {"host computes", "host_s"}};
}

std::string phase_table(const ordered_json& report, bool on_device) {
  const std::vector<Lane> lanes = busy_lanes(on_device);
  std::string html = "<h2>Phases</h2><table><tr><th>phase</th><th>measured</th><th>predicted</th>";
  for (const Lane& lane : lanes) html += fmt::format("<th>{}</th>", lane.title);
  html += "<th>overlap</th><th>waited for room</th><th>for the disk</th><th>for a check</th><th>read</th>";
  html += on_device ? "<th>copied</th></tr>\n" : "</tr>\n";
  for (const auto& phase : report["phases"]) {
    const double seconds = phase["seconds"].get<double>();
    const std::string name = phase["phase"].get<std::string>();
    const auto predicted = report["predicted"].find(name + "_s");
    html += fmt::format("<tr><td>{}</td><td>{:.3f} s</td><td>{}</td>", name, seconds,
                        predicted != report["predicted"].end() ? fmt::format("{:.3f} s", predicted->get<double>()) : "");
    for (const Lane& lane : lanes) html += share_cell(phase[lane.seconds].get<double>(), seconds);
    html += fmt::format("<td>{:.2f}</td><td>{:.3f} s</td><td>{:.3f} s</td><td>{:.3f} s</td><td>{}</td>", phase["overlap"].get<double>(),
                        phase["waits"]["room"].get<double>(), phase["waits"]["disk"].get<double>(), phase["waits"]["check"].get<double>(),
                        format_bytes(phase["read_bytes"].get<std::uint64_t>()));
    if (on_device) html += fmt::format("<td>{}</td>", format_bytes(phase["copied_bytes"].get<std::uint64_t>()));
    html += "</tr>\n";
  }
  html +=
      "</table><p class=\"small\">Overlap is the time of the phase divided by the busiest lane: 1.00 means that everything else hides "
      "behind it.";
  if (on_device)
    html += " Copied: from host memory to the device. What is predicted is for the card; an emulated one takes the time of this machine.";
  return html + "</p>\n";
}

Chart memory_chart(const Recording& recording, std::uint64_t budget) {
  Chart chart{"Memory charged to the process", "seconds", "GiB", {{"charged", {}}, {"budget", {}}}};
  for (const MemorySample& sample : recording.memory())
    chart.lines[0].points.emplace_back(static_cast<double>(sample.at_ns) * 1e-9, static_cast<double>(sample.bytes) / kGiB);
  if (!chart.lines[0].points.empty())
    for (const double at : {0.0, chart.lines[0].points.back().first})
      chart.lines[1].points.emplace_back(at, static_cast<double>(budget) / kGiB);
  return chart;
}

// To a hundredth: shorter in the page.
double microseconds(std::uint64_t ns) {
  const std::uint64_t hundredths = ns / 10;
  return static_cast<double>(hundredths) / 100;
}

// What the timeline draws. It opens on the last steps, where everything has settled.
std::string timeline_data(const Recording& recording, const compress::LeafIndex& index) {
  const std::vector<offload::TraceEvent>& events = recording.events();
  const std::vector<std::uint32_t> lanes = lanes_of(events);
  json texts = json::array(), list = json::array(), kinds = json::array();
  std::map<std::string, std::size_t> known;
  std::vector<const offload::TraceEvent*> steps;
  double end = 1;
  for (std::size_t i = 0; i < events.size(); i++) {
    const offload::TraceEvent& e = events[i];
    const auto [text, fresh] = known.emplace(event_text(index, e), known.size());
    if (fresh) texts.push_back(text->first);
    list.push_back({static_cast<int>(e.kind), lanes[i], microseconds(e.begin_ns), microseconds(e.end_ns), text->second});
    end = std::max(end, static_cast<double>(e.end_ns) * 1e-3);
    if (e.kind == offload::TraceKind::step) steps.push_back(&e);
  }
  for (std::size_t kind = 0; kind < offload::kTraceKinds; kind++)
    kinds.push_back(offload::trace_kind_name(static_cast<offload::TraceKind>(kind)));
  double from = 0, to = end;
  if (steps.size() >= 2) {
    from = static_cast<double>(steps[steps.size() - 2]->begin_ns) * 1e-3;
    to = static_cast<double>(steps.back()->end_ns) * 1e-3;
  }
  const std::uint32_t read_lanes = lanes.empty() ? 0 : *std::max_element(lanes.begin(), lanes.end()) + 1;
  return json({{"kinds", kinds},
               {"texts", texts},
               {"events", list},
               {"end", end},
               {"view", {from, to}},
               {"readLanes", read_lanes},
               {"onDevice", has_device_events(recording)}})
      .dump(-1, ' ', true);
}

}  // namespace

std::string predicted_speed(const ordered_json& report) {
  const auto predicted = report["predicted"].find("tokens_per_s");
  if (predicted == report["predicted"].end()) return "nothing predicted";
  const double speed = predicted->get<double>();
  if (report["memory"].contains("emulated_device")) return fmt::format("{:.2f} predicted for the card, not for its emulation", speed);
  return fmt::format("{:.2f} predicted ({:+.1f} %)", speed, 100 * (speed / std::max(report["tokens_per_s"].get<double>(), 1e-9) - 1));
}

std::string predicted_peak(const ordered_json& report) {
  const auto& memory = report["memory"];
  const auto bytes = [&](const char* name) { return format_bytes(memory[name].get<std::uint64_t>()); };
  const std::string text = fmt::format("peak {} ({}), {} predicted", bytes("peak"), memory["source"].get<std::string>(), bytes("planned"));
  return memory.contains("emulated_device") ? text + " and " + bytes("emulated_device") + " for the memory of the emulated device" : text;
}

void write_profile_page(const std::string& path, const ordered_json& report, const Recording& recording, const compress::LeafIndex& index) {
  const std::string title = "Profile of " + report["model"].get<std::string>();
  std::string page = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{1}</style></head>\n<body><h1>{0}</h1>\n",
      xml_text(title), kStyle);
  page += fmt::format("<p>{:.2f} tokens a second, {}; budget {}, {}; {} threads, {}.</p>\n", report["tokens_per_s"].get<double>(),
                      predicted_speed(report), format_bytes(report["memory"]["budget"].get<std::uint64_t>()), predicted_peak(report),
                      report["threads"].get<std::size_t>(), report["isa"].get<std::string>());
  page += phase_table(report, has_device_events(recording));
  page +=
      "<h2>Timeline</h2><p class=\"small\">Wheel: zoom, drag: move. It opens on the last two steps. <button id=\"all\">show "
      "all</button></p><canvas id=\"timeline\"></canvas><div id=\"tip\"></div><p class=\"key\" id=\"key\"></p>\n";
  if (recording.dropped() > 0) page += fmt::format("<p class=\"small\">{} events more did not fit the trace.</p>\n", recording.dropped());
  const std::uint64_t budget =
      report["memory"]["budget"].get<std::uint64_t>() + report["memory"].value("emulated_device", std::uint64_t{0});
  page += "<h2>Memory</h2>\n" + svg_document({memory_chart(recording, budget)});
  page += "<table><tr><th>owner</th><th>bytes</th></tr>\n";
  for (const auto& entry : report["accounts"])
    page += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", xml_text(entry["name"].get<std::string>()),
                        format_bytes(entry["bytes"].get<std::uint64_t>()));
  page += "</table>\n<script>\nconst DATA=";
  std::string data = timeline_data(recording, index);
  for (std::size_t at = 0; (at = data.find("</", at)) != std::string::npos; at += 3) data.replace(at, 2, "<\\/");
  page += data + ";" + kScript + "</script></body></html>\n";
  const auto file = create_file(path);
  file->write_at(0, std::as_bytes(std::span(page)));
  file->commit();
}

}  // namespace leafcutter::tools
